//! Files that are no guests of this host: each is refused at the start with an error that says why,
//! and nothing is bound. With an executable beside it the fallback serves, and the log says why.

mod support;

use std::fs;
use std::net::TcpListener;

use support::{Host, Said, command, guest, verb};
use wasm_encoder::{
    CodeSection, EntityType, ExportKind, ExportSection, Function, FunctionSection, ImportSection,
    MemorySection, MemoryType, Module, TypeSection,
};

/// A module of functions that do nothing: `imports` by their modules and names, `exports` by their
/// names, and a memory of so many pages.
fn module(imports: &[(&str, &str)], exports: &[&str], pages: u64) -> Vec<u8> {
    let mut types = TypeSection::new();
    types.ty().function([], []);
    let mut imported = ImportSection::new();
    for (module, name) in imports {
        imported.import(module, name, EntityType::Function(0));
    }
    let (mut functions, mut code) = (FunctionSection::new(), CodeSection::new());
    let mut exported = ExportSection::new();
    let mut memories = MemorySection::new();
    memories.memory(MemoryType {
        minimum: pages,
        maximum: None,
        memory64: false,
        shared: false,
        page_size_log2: None,
    });
    exported.export("memory", ExportKind::Memory, 0);
    let count = u32::try_from(imports.len()).unwrap();
    for (index, name) in (count..).zip(exports) {
        functions.function(0);
        let mut nothing = Function::new([]);
        nothing.instructions().end();
        code.function(&nothing);
        exported.export(name, ExportKind::Func, index);
    }
    let mut module = Module::new();
    let module = module
        .section(&types)
        .section(&imported)
        .section(&functions);
    module
        .section(&memories)
        .section(&exported)
        .section(&code)
        .clone()
        .finish()
}

/// Has `verb` look at a trigger file with `wasm` as a guest, `more` in its trigger, and a port that is
/// taken as its address: whoever tried to bind it would fail for that.
fn look(verb: &str, wasm: &[u8], more: &str) -> Said {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("guest.wasm"), wasm).unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let triggers = format!(
        r#"
        [trigger.good]
        listen = "{address}"
        wasm = "{{guest:echo}}"
        [trigger.bad]
        listen = "unix:{{dir}}/bad"
        wasm = "guest.wasm"
        {more}
        "#
    );
    command(verb, &triggers, dir.path())
}

/// Expects `run` and `check` to refuse this guest for this reason.
fn refused(wasm: &[u8], more: &str, why: &str) {
    for verb in ["run", "check"] {
        let said = look(verb, wasm, more);
        assert_eq!(said.code, Some(100), "{verb}: {}", said.stderr);
        let error = said.stderr.lines().last().unwrap();
        assert!(
            error.starts_with("portcullis: trigger `bad`: cannot load "),
            "{error}"
        );
        assert!(
            error.contains("guest.wasm: ") && error.contains(why),
            "{error}"
        );
        assert!(!said.stdout.contains("listening"), "nothing is announced");
    }
}

#[test]
fn a_module_that_imports_what_the_host_lacks_is_refused_with_every_such_import() {
    let wasm = module(
        &[
            ("env", "open_door"),
            ("wasi_snapshot_preview1", "sched_yield"),
            ("wasi_nn", "load"),
        ],
        &["_start"],
        1,
    );
    refused(
        &wasm,
        "",
        "it imports what this host lacks: env.open_door, wasi_nn.load",
    );
}

#[test]
fn a_module_that_imports_a_function_of_wasi_with_another_type_is_refused() {
    let wasm = module(&[("wasi_snapshot_preview1", "fd_read")], &["_start"], 1);
    refused(&wasm, "", "its imports do not fit this host's");
}

#[test]
fn a_library_and_a_module_without_a_start_are_refused() {
    refused(
        &module(&[], &["_initialize"], 1),
        "",
        "it is a library (a WASI reactor, with _initialize)",
    );
    refused(
        &module(&[], &["run"], 1),
        "",
        "it exports no function _start",
    );
    refused(&Module::new().finish(), "", "it exports no memory");
}

#[test]
fn what_is_no_wasm_file_is_refused() {
    refused(
        b"#!/bin/sh\necho hello\n",
        "",
        r"it is not a wasm file: it does not begin with \0asm",
    );
    refused(b"", "", "it is not a wasm file");
    refused(b"(module)", "", "it is WebAssembly text");
    refused(
        b"\0asm\x02\0\0\0",
        "",
        "of a version of WebAssembly that this host does not know",
    );
}

#[test]
fn a_file_that_is_cut_short_is_refused() {
    for name in ["echo", "echo-stdio.component"] {
        let whole = fs::read(guest(name)).unwrap();
        for part in [8, 9, whole.len() / 2, whole.len() - 1] {
            let why = match (name, part) {
                ("echo", 8) => "it exports no memory",
                (_, 8) => "it exports nothing that can serve a connection",
                _ => "it is not well formed: ",
            };
            refused(&whole[..part], "", why);
        }
    }
}

#[test]
fn a_component_that_exports_nothing_that_can_be_served_is_refused_with_what_it_exports() {
    use wasm_encoder::{
        Component, ComponentExportKind, ComponentExportSection, ComponentTypeSection,
    };
    refused(
        &Component::new().finish(),
        "",
        "wasi:cli/run@0.2.x, wasi:cli/run@0.3.x, wasi:http/incoming-handler@0.2.x, \
         wasi:http/handler@0.3.x; it exports nothing",
    );
    let mut types = ComponentTypeSection::new();
    types
        .defined_type()
        .primitive(wasm_encoder::PrimitiveValType::U8);
    let mut exports = ComponentExportSection::new();
    exports.export("byte", ComponentExportKind::Type, 0, None);
    let mut component = Component::new();
    component.section(&types).section(&exports);
    refused(&component.finish(), "", "; it exports byte");
}

#[test]
fn a_guest_that_starts_out_larger_than_its_memory_limit_is_refused() {
    let wasm = module(&[], &["_start"], 33);
    refused(
        &wasm,
        r#"limits = { memory = "2MiB" }"#,
        "it starts with 2.1 MiB of memory, and limits.memory is 2.0 MiB",
    );
    refused(
        &module(&[], &["_start"], 1025),
        "",
        "limits.memory is 64.0 MiB",
    );
    let component = fs::read(guest("echo-stdio.component")).unwrap();
    refused(
        &component,
        r#"limits = { memory = "64KiB" }"#,
        "and limits.memory is 64.0 KiB",
    );
}

#[test]
fn a_guest_that_is_not_there_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let said = command(
        "run",
        "[trigger.gone]\nlisten = \"127.0.0.1:0\"\nwasm = \"gone.wasm\"\n",
        dir.path(),
    );
    assert_eq!((said.code, &*said.stdout), (Some(100), ""));
    assert!(
        said.stderr.contains("gone.wasm: No such file or directory"),
        "{}",
        said.stderr
    );
}

#[test]
fn a_guest_whose_directory_is_not_there_is_refused() {
    let wasm = module(&[], &["_start"], 1);
    refused(
        &wasm,
        r#"dirs = { "/data" = "nowhere" }"#,
        "for the guest's /data",
    );
}

#[test]
fn an_executable_beside_a_guest_that_cannot_be_loaded_serves_in_its_place() {
    let why = "it imports what this host lacks: env.open_door";
    let wasm = module(&[("env", "open_door")], &["_start"], 1);
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("guest.wasm"), &wasm).unwrap();
    let host = Host::start_in(
        dir,
        r#"
        [trigger.fallback]
        listen = ["127.0.0.1:0", "unix:{dir}/fallback"]
        wasm = "guest.wasm"
        exec = "{native:exec-echo}"
        accept = true
        [trigger.gone]
        listen = "127.0.0.1:0"
        wasm = "gone.wasm"
        exec = "{native:message}"
        [trigger.guest]
        listen = "127.0.0.1:0"
        wasm = "{guest:echo}"
        exec = "{native:message}"
        "#,
        |_| {},
    );
    assert_eq!(host.ask("fallback", b"Hello"), b"Hello");
    assert_eq!(host.ask("gone", b"Hello"), b"I got your message: Hello");
    assert_eq!(
        host.ask("guest", b"Hello"),
        b"Hello",
        "the guest serves when it can"
    );
    let start = |trigger: &str| {
        host.logged("its start", |line| {
            verb(line) == "start" && line["trigger"] == trigger && line["handler"].is_string()
        })
    };
    let fallback = start("fallback");
    assert_eq!(
        (&fallback["level"], &fallback["handler"]),
        (&"WARN".into(), &"native, one process a connection".into())
    );
    assert!(
        fallback["reason"].as_str().unwrap().ends_with(why),
        "{fallback}"
    );
    let gone = start("gone");
    assert_eq!(
        (&gone["level"], &gone["handler"]),
        (&"WARN".into(), &"native, the job accepts".into())
    );
    assert!(
        gone["reason"]
            .as_str()
            .unwrap()
            .contains("No such file or directory"),
        "{gone}"
    );
    assert_eq!(start("guest")["reason"], serde_json::Value::Null);

    let said = look("check", &wasm, "exec = \"/bin/cat\"\naccept = true");
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    assert!(
        said.stdout
            .contains("native, one process a connection, since "),
        "{}",
        said.stdout
    );
    assert!(said.stdout.contains(why), "{}", said.stdout);
}
