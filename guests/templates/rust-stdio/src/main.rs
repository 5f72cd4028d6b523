//! Asks for a name and greets. Standard input and output are the connection, and standard error is the log.

use std::io;

fn main() -> io::Result<()> {
    println!("what is your name?");
    let mut name = String::new();
    io::stdin().read_line(&mut name)?;
    println!("hello, {}", name.trim());
    Ok(())
}
