//! Settings, as the draft `wasi:config` has them.

wit_bindgen::generate!({
    inline: r#"
        package portcullis:reach;

        world settings {
            import wasi:config/store@0.2.0-rc.1;
        }

        package wasi:config@0.2.0-rc.1 {
            interface store {
                variant error {
                    upstream(string),
                    io(string),
                }
                get: func(key: string) -> result<option<string>, error>;
                get-all: func() -> result<list<tuple<string, string>>, error>;
            }
        }
    "#,
    generate_all,
});

use wasi::config::store::{self, Error};

pub fn one(name: &str) -> Result<String, Error> {
    Ok(format!("{:?}", store::get(name)?))
}

pub fn all() -> Result<String, Error> {
    let mut all = store::get_all()?;
    all.sort();
    Ok(format!("{all:?}"))
}
