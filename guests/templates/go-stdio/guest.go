// Asks for a name and greets. Standard input and output are the connection, and standard error is the log.
package main

import (
	"bufio"
	"fmt"
	"log"
	"os"
	"strings"
)

func main() {
	fmt.Println("what is your name?")
	name, err := bufio.NewReader(os.Stdin).ReadString('\n')
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("hello, %s\n", strings.TrimSpace(name))
}
