//! The guest that makes the calls. It finds its script in a variable, fetches that anew before each step, because any call may have
//! written over it, and keeps nothing else in memory. It ends with a status of its own when an answer, or the first page of its
//! memory, is not what the script says.

use wasm_encoder::{
    BlockType, CodeSection, EntityType, ExportKind, ExportSection, Function, FunctionSection,
    ImportSection, InstructionSink, MemArg, MemorySection, MemoryType, Module, TypeSection,
    ValType,
};

use super::model::{HASH, MEMORY, PAGE};
use ValType::{I32, I64};

/// The calls by their numbers in a script, with what they take.
pub const CALLS: [(&str, &[ValType]); 17] = [
    ("sock_accept", &[I32; 3]),
    ("fd_read", &[I32; 4]),
    ("fd_write", &[I32; 4]),
    ("sock_recv", &[I32; 6]),
    ("sock_send", &[I32; 5]),
    ("sock_shutdown", &[I32; 2]),
    ("fd_close", &[I32]),
    ("fd_renumber", &[I32; 2]),
    ("fd_fdstat_get", &[I32; 2]),
    ("fd_fdstat_set_flags", &[I32; 2]),
    ("fd_prestat_get", &[I32; 2]),
    ("poll_oneoff", &[I32; 4]),
    ("random_get", &[I32; 2]),
    ("clock_time_get", &[I32, I64, I32]),
    ("fd_seek", &[I32, I64, I32, I32]),
    ("sched_yield", &[]),
    ("environ_get", &[I32; 2]),
];
pub const PROC_EXIT: u32 = 17;
/// Stores a word, ends: no calls, but steps of a script.
pub const POKE: u32 = 18;
pub const END: u32 = 19;

/// The variable that has the script.
pub const SCRIPT: &str = "S";

/// Numbers of a step: what to do, six arguments, the answer, and the hash of the first page after it.
pub const NUMBERS: u32 = 9;
/// Digits of a number.
const DIGITS: u32 = 16;

const ENVIRON_GET: u32 = 16;
const START: u32 = PROC_EXIT + 1;
const NUMBER: u32 = START + 1;

/// Where it has its variables: pointers, and what they point to.
const LIST: u32 = PAGE;
const BLOCK: u32 = PAGE + 0x400;

/// Bits of the statuses by which it says what is wrong.
const ANSWERED: u32 = 1 << 29;
const WRITTEN: u32 = 1 << 28;

/// The locals of `_start`: the numbers of a step come first.
const AT: u32 = NUMBERS;
const PLACE: u32 = AT + 1;
const ANSWER: u32 = AT + 2;
const STEP: u32 = AT + 3;
const SUM: u32 = AT + 4;

/// What is wrong by a status of the guest, if something is.
pub fn verdict(status: i32) -> Option<String> {
    let status = status.cast_unsigned();
    let step = status >> 8 & 0xffff;
    if status & ANSWERED != 0 {
        Some(format!("step {step} was answered with {}", status & 0xff))
    } else if status & WRITTEN != 0 {
        Some(format!("step {step} has written something else to memory"))
    } else {
        None
    }
}

/// The guest.
pub fn module() -> Vec<u8> {
    let mut types = TypeSection::new();
    let mut imports = ImportSection::new();
    for (index, (name, takes)) in (0..).zip(CALLS) {
        types.ty().function(takes.iter().copied(), [I32]);
        imports.import("wasi_snapshot_preview1", name, EntityType::Function(index));
    }
    types.ty().function([I32], []);
    imports.import(
        "wasi_snapshot_preview1",
        "proc_exit",
        EntityType::Function(PROC_EXIT),
    );
    types.ty().function([], []);
    types.ty().function([I32], [I64]);
    let mut functions = FunctionSection::new();
    functions.function(START).function(NUMBER);
    let mut memories = MemorySection::new();
    let pages = u64::from(MEMORY / PAGE);
    memories.memory(MemoryType {
        minimum: pages,
        maximum: Some(pages),
        memory64: false,
        shared: false,
        page_size_log2: None,
    });
    let mut exports = ExportSection::new();
    exports.export("memory", ExportKind::Memory, 0);
    exports.export("_start", ExportKind::Func, START);
    let mut code = CodeSection::new();
    code.function(&start()).function(&number());
    let mut module = Module::new();
    module
        .section(&types)
        .section(&imports)
        .section(&functions)
        .section(&memories)
        .section(&exports)
        .section(&code);
    module.finish()
}

/// At the place itself; 2 to the power of `align` is what the place is most often a multiple of.
fn there(align: u32) -> MemArg {
    MemArg {
        offset: 0,
        align,
        memory_index: 0,
    }
}

/// `_start`: step after step.
fn start() -> Function {
    let mut function = Function::new([(NUMBERS, I64), (4, I32), (1, I64)]);
    let mut code = function.instructions();
    code.loop_(BlockType::Empty);
    // Where the step is: the script is the first variable, behind its name and `=`.
    code.i32_const(LIST.cast_signed())
        .i32_const(BLOCK.cast_signed())
        .call(ENVIRON_GET)
        .drop();
    code.i32_const(LIST.cast_signed())
        .i32_load(there(2))
        .i32_const(2)
        .i32_add();
    code.local_get(STEP)
        .i32_const((NUMBERS * DIGITS).cast_signed())
        .i32_mul()
        .i32_add()
        .local_set(AT);
    for number in 0..NUMBERS {
        code.local_get(AT)
            .i32_const((number * DIGITS).cast_signed())
            .i32_add()
            .call(NUMBER)
            .local_set(number);
    }
    code.i32_const(0).local_set(ANSWER);
    for _ in 0..=END + 1 {
        code.block(BlockType::Empty);
    }
    code.local_get(0).i32_wrap_i64().br_table(0..END, END);
    for case in 0..=END {
        code.end();
        step(&mut code, case);
        code.br(END - case);
    }
    code.end();
    // The answer.
    code.local_get(ANSWER)
        .i64_extend_i32_u()
        .local_get(7)
        .i64_ne()
        .if_(BlockType::Empty);
    blame(&mut code, ANSWERED);
    code.end();
    // What the first page has now.
    code.i32_const(0)
        .local_set(PLACE)
        .i64_const(0)
        .local_set(SUM);
    code.loop_(BlockType::Empty);
    code.local_get(SUM)
        .local_get(PLACE)
        .i64_load(there(3))
        .i64_xor()
        .i64_const(HASH.cast_signed())
        .i64_mul();
    code.i64_const(29).i64_rotl().local_set(SUM);
    code.local_get(PLACE)
        .i32_const(8)
        .i32_add()
        .local_tee(PLACE)
        .i32_const(PAGE.cast_signed())
        .i32_lt_u()
        .br_if(0)
        .end();
    code.i32_const(0).local_set(ANSWER);
    code.local_get(SUM)
        .local_get(8)
        .i64_ne()
        .if_(BlockType::Empty);
    blame(&mut code, WRITTEN);
    code.end();
    code.local_get(STEP).i32_const(1).i32_add().local_set(STEP);
    code.br(0).end().end();
    function
}

/// Ends it, with the step and the answer.
fn blame(code: &mut InstructionSink<'_>, what: u32) {
    code.local_get(STEP)
        .i32_const(8)
        .i32_shl()
        .local_get(ANSWER)
        .i32_or()
        .i32_const(what.cast_signed())
        .i32_or()
        .call(PROC_EXIT);
}

/// What one step does with its arguments, which are the locals from 1.
fn step(code: &mut InstructionSink<'_>, case: u32) {
    match case {
        PROC_EXIT => code.local_get(1).i32_wrap_i64().call(PROC_EXIT),
        POKE => code
            .local_get(1)
            .i32_wrap_i64()
            .local_get(2)
            .i64_store(there(0)),
        END => code.return_(),
        _ => {
            for (local, takes) in (1..).zip(CALLS[case as usize].1) {
                code.local_get(local);
                if *takes == I32 {
                    code.i32_wrap_i64();
                }
            }
            code.call(case).local_set(ANSWER)
        }
    };
}

/// The number whose digits are at a place: four bits in each byte.
fn number() -> Function {
    let mut function = Function::new([(1, I64), (1, I32)]);
    let mut code = function.instructions();
    code.loop_(BlockType::Empty);
    code.local_get(1).i64_const(4).i64_shl();
    code.local_get(0)
        .local_get(2)
        .i32_add()
        .i64_load8_u(there(0))
        .i64_const(15)
        .i64_and()
        .i64_or()
        .local_set(1);
    code.local_get(2)
        .i32_const(1)
        .i32_add()
        .local_tee(2)
        .i32_const(DIGITS.cast_signed())
        .i32_lt_u()
        .br_if(0)
        .end();
    code.local_get(1).end();
    function
}
