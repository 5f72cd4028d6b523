//! The functions in the WIT of `wit/deps`, read as far as is needed to know each by its name, the resource
//! it is of, and what it makes.

use std::fs;

use super::support::repository;

/// One function of an interface.
#[derive(Debug)]
pub struct Function {
    /// `wasi:sockets/tcp`
    pub interface: String,
    /// `0.2.12`
    pub version: String,
    /// What it is a method, a static function or the constructor of.
    pub resource: Option<String>,
    pub called: String,
    /// The words in the type of its result, of which some are resources.
    pub result: Vec<String>,
    /// Whether it is behind a feature of WASI that is not stable.
    pub unstable: bool,
}

impl Function {
    /// As the policy has it.
    pub fn name(&self) -> String {
        format!("{}@{} {}", self.interface, self.version, self.within())
    }

    /// As the guests call it.
    pub fn import(&self) -> String {
        format!("{}.{}", self.interface, self.within())
    }

    fn within(&self) -> String {
        let resource = self.resource.as_ref();
        let resource = resource
            .map(|resource| format!("{resource}."))
            .unwrap_or_default();
        resource + &self.called
    }
}

/// A block that is open: what it is, its name, and whether it is stable.
struct Block {
    kind: String,
    name: String,
    unstable: bool,
}

/// Every function of every file.
pub fn functions() -> Vec<Function> {
    let mut functions = Vec::new();
    for entry in fs::read_dir(repository().join("wit/deps")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "wit") {
            read(&fs::read_to_string(&path).unwrap(), &mut functions);
        }
    }
    functions
}

fn read(text: &str, functions: &mut Vec<Function>) {
    let code: Vec<&str> = text
        .lines()
        .map(|line| line.split("//").next().unwrap())
        .collect();
    let code = code.join("\n");
    let (mut package, mut version) = (String::new(), String::new());
    let mut open: Vec<Block> = Vec::new();
    let mut written = String::new();
    for c in code.chars() {
        match c {
            '{' => {
                let (statement, unstable) = without_attributes(&written);
                let mut words = statement.split_whitespace();
                open.push(Block {
                    kind: words.next().unwrap_or_default().to_owned(),
                    name: words.next().unwrap_or_default().to_owned(),
                    unstable,
                });
                written.clear();
            }
            '}' => {
                open.pop().expect("blocks are closed once");
                written.clear();
            }
            ';' => {
                let (statement, unstable) = without_attributes(&written);
                if let Some(name) = statement.strip_prefix("package ") {
                    let (name, number) = name.split_once('@').unwrap();
                    (package, version) = (name.to_owned(), number.to_owned());
                } else if let Some(mut function) = function(statement, &open) {
                    function.interface = format!("{package}/{}", function.interface);
                    function.version.clone_from(&version);
                    function.unstable |= unstable;
                    functions.push(function);
                }
                written.clear();
            }
            c => written.push(c),
        }
    }
    assert!(open.is_empty(), "blocks are closed");
}

/// A statement without what stands before it in `@name(…)`, and whether that says that it is unstable.
fn without_attributes(written: &str) -> (&str, bool) {
    let mut statement = written.trim();
    let mut unstable = false;
    while let Some(attribute) = statement.strip_prefix('@') {
        unstable |= attribute.starts_with("unstable");
        statement = attribute.split_once(')').unwrap().1.trim();
    }
    (statement, unstable)
}

/// The function that a statement declares, if it does.
fn function(statement: &str, open: &[Block]) -> Option<Function> {
    let interface = open.first().filter(|block| block.kind == "interface")?;
    let resource = open.iter().find(|block| block.kind == "resource");
    let (name, signature) = if statement.starts_with("constructor") {
        ("constructor", statement)
    } else {
        let (name, signature) = statement.split_once(':')?;
        signature.contains("func").then_some((name, signature))?
    };
    let result = signature.rsplit_once("->").map_or("", |(_, result)| result);
    let words = result.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
    Some(Function {
        interface: interface.name.clone(),
        version: String::new(),
        resource: resource.map(|block| block.name.clone()),
        called: name.trim().trim_start_matches('%').to_owned(),
        result: words
            .filter(|word| !word.is_empty())
            .map(str::to_owned)
            .collect(),
        unstable: open.iter().any(|block| block.unstable),
    })
}
