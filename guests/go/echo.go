// Echo in Go, with nothing but the standard library: net.FileListener takes the listener the host left open. Go's network poller
// wants the descriptor non-blocking before it is wrapped. The program accepts for ever, as a server does; the host ends the instance
// once its one connection is closed. When SHOW_DIR names a directory, its entries go to the client first, one "dir NAME" line each.
package main

import (
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"strconv"
	"syscall"
)

func main() {
	listener, err := inherited()
	if err != nil {
		log.Fatal(err)
	}
	for {
		connection, err := listener.Accept()
		if err != nil {
			log.Fatal(err)
		}
		go serve(connection)
	}
}

func inherited() (net.Listener, error) {
	fd, err := strconv.Atoi(os.Getenv("UPSTART_FDS"))
	if err != nil {
		return nil, fmt.Errorf("UPSTART_FDS names no listener: %w", err)
	}
	if err := syscall.SetNonblock(fd, true); err != nil {
		return nil, fmt.Errorf("make descriptor %d non-blocking: %w", fd, err)
	}
	return net.FileListener(os.NewFile(uintptr(fd), "listener"))
}

func serve(connection net.Conn) {
	defer connection.Close()
	if err := showDir(connection, os.Getenv("SHOW_DIR")); err != nil {
		log.Print(err)
	}
	if _, err := io.Copy(connection, connection); err != nil {
		log.Print(err)
	}
}

func showDir(client io.Writer, path string) error {
	if path == "" {
		return nil
	}
	entries, err := os.ReadDir(path)
	for _, entry := range entries {
		fmt.Fprintf(client, "dir %s\n", entry.Name())
	}
	return err
}
