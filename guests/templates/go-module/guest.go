// Asks for a name and greets. The listener is descriptor 3; the first Accept gives the connection, and there is no second one.
package main

import (
	"bufio"
	"fmt"
	"log"
	"net"
	"os"
	"strings"
	"syscall"
)

func main() {
	client, err := accept(3)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Fprintln(client, "what is your name?")
	name, err := bufio.NewReader(client).ReadString('\n')
	if err != nil {
		log.Fatal(err)
	}
	fmt.Fprintf(client, "hello, %s\n", strings.TrimSpace(name))
}

func accept(fd int) (net.Conn, error) {
	// Go waits for all of its descriptors at once, so none of them may block.
	if err := syscall.SetNonblock(fd, true); err != nil {
		return nil, err
	}
	listener, err := net.FileListener(os.NewFile(uintptr(fd), "listener"))
	if err != nil {
		return nil, err
	}
	return listener.Accept()
}
