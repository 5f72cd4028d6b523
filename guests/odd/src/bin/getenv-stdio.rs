//! Sends all it can see of the world: `env NAME=VALUE` for every variable, sorted, then `arg N VALUE` for every argument in order. Stdio
//! style; `getenv` sends the same in socket style.

fn main() {
    print!("{}", odd::surroundings());
}
