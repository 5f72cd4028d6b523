//! Ends at once with exit status 7; stdio style. Sends nothing.

fn main() {
    std::process::exit(7);
}
