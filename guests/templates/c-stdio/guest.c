/* Asks for a name and greets. Standard input and output are the connection, and standard error is the log. */

#include <stdio.h>
#include <string.h>

int main(void)
{
    puts("what is your name?");
    fflush(stdout);
    char name[100];
    if (fgets(name, sizeof name, stdin) == NULL)
        return 1;
    name[strcspn(name, "\r\n")] = '\0';
    printf("hello, %s\n", name);
    return 0;
}
