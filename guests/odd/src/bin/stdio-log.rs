//! Uses its standard streams, which in socket style are not the connection: writes `a line on standard output`, `a line on standard error`
//! and, with no line feed behind it, `the end of standard output`; reads standard input to its end and sends `stdin: N bytes`.

use std::io::{self, Read, Write};

fn main() -> io::Result<()> {
    let mut connection = odd::connection();
    println!("a line on standard output");
    eprintln!("a line on standard error");
    print!("the end of standard output");
    io::stdout().flush()?;
    let length = io::stdin().read_to_end(&mut Vec::new())?;
    writeln!(connection, "stdin: {length} bytes")
}
