//! Sends `open`, and waits in a blocking accept for another connection while the first is still open. The host must take that as the
//! end: nothing after that accept ever runs. If it does, standard error says so (`second-accept-open: …`).

use std::io::{self, Write};

fn main() -> io::Result<()> {
    let listener = odd::listener();
    let (mut connection, _) = listener.accept()?;
    connection.write_all(b"open")?;

    match listener.accept() {
        Ok(_) => eprintln!("second-accept-open: got a second connection"),
        Err(error) => eprintln!("second-accept-open: was refused: {error}"),
    }
    Ok(())
}
