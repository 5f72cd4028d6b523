//! Embeds the projects that `portcullis new` writes: each folder of guests/templates becomes a constant with the
//! files in it. A template is a project itself, and its symbolic links say what it shares with the rest of the
//! repository; what its .gitignore names is no part of it.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() -> Result<(), Box<dyn Error>> {
    let templates = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("guests/templates");
    let mut code = String::new();
    for (name, template) in entries(&templates)? {
        let ignored = fs::read_to_string(template.join(".gitignore"))?;
        let ignored = ignored.lines().map(|line| line.trim_matches('/')).collect();
        let mut files = BTreeMap::new();
        collect(&template, "", &ignored, &mut files)?;
        let constant = name.to_uppercase().replace('-', "_");
        writeln!(code, "const {constant}: &[(&str, &str)] = &[")?;
        for (path, file) in files {
            let file = file.to_str().ok_or("the checkout has no plain path")?;
            writeln!(code, "    ({path:?}, include_str!({file:?})),")?;
        }
        writeln!(code, "];")?;
    }
    fs::write(Path::new(&env::var("OUT_DIR")?).join("templates.rs"), code)?;
    Ok(())
}

/// Finds the files below `folder`, by their paths from the template's root on.
fn collect(
    folder: &Path,
    inside: &str,
    ignored: &Vec<&str>,
    files: &mut BTreeMap<String, PathBuf>,
) -> Result<(), Box<dyn Error>> {
    for (name, path) in entries(folder)? {
        let inside = format!("{inside}{name}");
        if ignored.contains(&&*inside) {
            continue;
        }
        if path.is_dir() {
            collect(&path, &format!("{inside}/"), ignored, files)?;
        } else {
            files.insert(inside, path);
        }
    }
    Ok(())
}

/// What is in a folder, by name. When that changes, this runs again.
fn entries(folder: &Path) -> Result<BTreeMap<String, PathBuf>, Box<dyn Error>> {
    println!("cargo::rerun-if-changed={}", folder.display());
    let mut entries = BTreeMap::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let name = name.ok_or_else(|| format!("{} has no plain name", path.display()))?;
        entries.insert(name.to_owned(), path);
    }
    Ok(entries)
}
