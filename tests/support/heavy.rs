//! Guests of any size: each says its name to its client, and has so many functions that it never
//! calls, each different, and so many bytes of data that it never looks at. And what any guest has that is
//! made by hand.

use wasm_encoder::{
    CodeSection, ConstExpr, DataSection, EntityType, ExportKind, ExportSection, Function,
    FunctionSection, ImportSection, MemorySection, MemoryType, Module, TypeSection, ValType,
};

/// Steps of one function.
const STEPS: u64 = 300;

/// Where the name lies in memory: behind the list of one buffer that is written, and the count.
const NAME: u32 = 16;

/// A guest that says `name`, of `functions` functions (about 4.3 kB each) and `data` bytes of data.
pub fn heavy(name: &str, functions: u32, data: usize) -> Vec<u8> {
    let mut types = TypeSection::new();
    types.ty().function([ValType::I32; 4], [ValType::I32]);
    types.ty().function([], []);
    types.ty().function([ValType::I64], [ValType::I64]);
    let mut imports = ImportSection::new();
    let write = EntityType::Function(0);
    imports.import("wasi_snapshot_preview1", "fd_write", write);
    let (mut declared, mut code) = (FunctionSection::new(), CodeSection::new());
    declared.function(1);
    let mut start = Function::new([]);
    start
        .instructions()
        .i32_const(1)
        .i32_const(0)
        .i32_const(1)
        .i32_const(8)
        .call(0)
        .drop()
        .end();
    code.function(&start);
    for number in 0..functions {
        declared.function(2);
        code.function(&filler(u64::from(number) << 32 | name.len() as u64));
    }
    let length = u32::try_from(name.len()).expect("a name is short");
    let mut content = [NAME.to_le_bytes(), length.to_le_bytes()].concat();
    content.resize(NAME as usize, 0);
    content.extend(name.as_bytes());
    content.extend(std::iter::repeat_n(0x5a, data));
    let pages = content.len().div_ceil(1 << 16) as u64;
    let (memories, exports) = (memory(pages), exports(1));
    let mut segments = DataSection::new();
    segments.active(0, &ConstExpr::i32_const(0), content);
    let mut module = Module::new();
    module.section(&types).section(&imports).section(&declared);
    module.section(&memories).section(&exports);
    module.section(&code).section(&segments);
    module.finish()
}

/// A memory of so many pages.
pub fn memory(pages: u64) -> MemorySection {
    let mut memories = MemorySection::new();
    memories.memory(MemoryType {
        minimum: pages,
        maximum: None,
        memory64: false,
        shared: false,
        page_size_log2: None,
    });
    memories
}

/// That memory, and the function that a guest begins with.
pub fn exports(start: u32) -> ExportSection {
    let mut exports = ExportSection::new();
    exports.export("memory", ExportKind::Memory, 0);
    exports.export("_start", ExportKind::Func, start);
    exports
}

/// Arithmetic that a compiler cannot make less of.
fn filler(seed: u64) -> Function {
    let mut function = Function::new([]);
    let mut code = function.instructions();
    for step in 0..STEPS {
        let number = (seed ^ step)
            .wrapping_mul(0x9E37_79B9_7F4A_7C15)
            .cast_signed();
        code.local_get(0).i64_const(number);
        match step % 3 {
            0 => code.i64_mul(),
            1 => code.i64_xor(),
            _ => code.i64_add(),
        };
        code.local_set(0);
    }
    code.local_get(0).end();
    function
}
