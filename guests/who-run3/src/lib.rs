//! Tells its client what it was told about the two ends of its connection: its variables, sorted, one a line. Then it ends. Stdio style, in
//! the clothes of WASI 0.3.

use std::env;

use wasip3::cli::stdout;
use wasip3::wit_stream;

wasip3::cli::command::export!(Who);

struct Who;

impl wasip3::exports::cli::run::Guest for Who {
    async fn run() -> Result<(), ()> {
        let mut variables: Vec<_> = env::vars().collect();
        variables.sort();
        let lines = variables
            .iter()
            .map(|(name, value)| format!("{name}={value}\n"));
        let (mut output, data) = wit_stream::new();
        let sent = stdout::write_via_stream(data);
        output
            .write_all(lines.collect::<String>().into_bytes())
            .await;
        drop(output);
        sent.await.map_err(|error| eprintln!("who: {error:?}"))
    }
}
