//! Echoes its connection to the end, closes it, and waits in a blocking accept for another. The host must take that as the end: nothing
//! after that accept ever runs. If it does, standard error says so (`second-accept: …`).

use std::io::{self, Read, Write};

fn main() -> io::Result<()> {
    let listener = odd::listener();
    let (mut connection, _) = listener.accept()?;
    let mut buffer = [0; 1024];
    loop {
        match connection.read(&mut buffer)? {
            0 => break,
            length => connection.write_all(&buffer[..length])?,
        }
    }
    drop(connection);

    match listener.accept() {
        Ok(_) => eprintln!("second-accept: got a second connection"),
        Err(error) => eprintln!("second-accept: was refused: {error}"),
    }
    Ok(())
}
