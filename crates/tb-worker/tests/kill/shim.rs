//! Preloaded into a worker (LD_PRELOAD): at its n-th operation on files under a folder it plays a crash, a full disk or a broken one.
//! Built by the test with rustc. Reads the environment and calls the system; uses nothing of std that writes.
//!
//! FAULT_UNDER   part of a path: only operations on such paths count
//! FAULT_KINDS   letters of the kinds that count: w write, s sync, r rename, m make folder, o open for writing, u unlink
//! FAULT_AT      the number of the operation from 1; 0 plays nothing
//! FAULT_DO      `kill`, or an error number to return; later ones of these kinds return it as well
//! FAULT_LOG     a file that gets a line for each operation: its letter and path

#![allow(clippy::missing_safety_doc)]

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::sync::atomic::{AtomicUsize, Ordering};

const RTLD_NEXT: *mut c_void = -1_isize as *mut c_void;
const O_CREAT: c_int = 0o100;

unsafe extern "C" {
    fn dlsym(handle: *mut c_void, name: *const c_char) -> *mut c_void;
    fn getenv(name: *const c_char) -> *const c_char;
    fn readlink(path: *const c_char, buffer: *mut c_char, size: usize) -> isize;
    fn syscall(number: i64, ...) -> i64;
    fn getpid() -> c_int;
    fn kill(pid: c_int, signal: c_int) -> c_int;
    fn __errno_location() -> *mut c_int;
}

static COUNT: AtomicUsize = AtomicUsize::new(0);

unsafe fn env(name: &CStr) -> &'static [u8] {
    let value = unsafe { getenv(name.as_ptr()) };
    if value.is_null() { b"" } else { unsafe { CStr::from_ptr(value) }.to_bytes() }
}

fn number(text: &[u8]) -> usize {
    text.iter().fold(0, |n, digit| n * 10 + usize::from(digit - b'0'))
}

fn contains(all: &[u8], part: &[u8]) -> bool {
    part.is_empty() || all.windows(part.len()).any(|w| w == part)
}

/// Counts an operation; whether it is to fail, errno being set.
unsafe fn fails(kind: u8, path: &[u8]) -> bool {
    unsafe {
        if !contains(path, env(c"FAULT_UNDER")) || !env(c"FAULT_KINDS").contains(&kind) {
            return false;
        }
        let now = COUNT.fetch_add(1, Ordering::SeqCst) + 1;
        let log = env(c"FAULT_LOG");
        if !log.is_empty() {
            let mut line = [0_u8; 600];
            let n = path.len().min(590);
            (line[0], line[1]) = (kind, b' ');
            line[2..2 + n].copy_from_slice(&path[..n]);
            line[2 + n] = b'\n';
            // open(log, O_WRONLY | O_CREAT | O_APPEND, 0644), write, close: the raw calls, which nobody counts.
            let fd = syscall(2, getenv(c"FAULT_LOG".as_ptr()), 0o2101, 0o644);
            syscall(1, fd, line.as_ptr(), n + 3);
            syscall(3, fd);
        }
        let at = number(env(c"FAULT_AT"));
        if at == 0 || now < at {
            return false;
        }
        let what = env(c"FAULT_DO");
        if what == b"kill" {
            kill(getpid(), 9);
            loop {}
        }
        *__errno_location() = number(what) as c_int;
        true
    }
}

unsafe fn fails_at(kind: u8, path: *const c_char) -> bool {
    unsafe { fails(kind, CStr::from_ptr(path).to_bytes()) }
}

unsafe fn fails_on(kind: u8, fd: c_int) -> bool {
    let mut name = [0_u8; 32];
    let mut at = 14;
    name[..14].copy_from_slice(b"/proc/self/fd/");
    let mut digits = [0_u8; 12];
    let (mut n, mut rest) = (0, fd);
    loop {
        digits[n] = b'0' + (rest % 10) as u8;
        (n, rest) = (n + 1, rest / 10);
        if rest == 0 {
            break;
        }
    }
    for digit in digits[..n].iter().rev() {
        name[at] = *digit;
        at += 1;
    }
    let mut path = [0_u8; 4096];
    unsafe {
        let size = readlink(name.as_ptr().cast(), path.as_mut_ptr().cast(), path.len());
        size > 0 && fails(kind, &path[..size as usize])
    }
}

/// Defines a function of libc that looks first and then calls the next one of that name.
macro_rules! wrapped {
    ($name:ident($($arg:ident: $kind:ty),*) -> $out:ty, $looked:expr) => {
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name($($arg: $kind),*) -> $out {
            unsafe {
                if $looked {
                    return -1;
                }
                let next = dlsym(RTLD_NEXT, concat!(stringify!($name), "\0").as_ptr().cast());
                let next: unsafe extern "C" fn($($kind),*) -> $out = std::mem::transmute(next);
                next($($arg),*)
            }
        }
    };
}

wrapped!(write(fd: c_int, data: *const c_void, n: usize) -> isize, fails_on(b'w', fd));
wrapped!(writev(fd: c_int, parts: *const c_void, n: c_int) -> isize, fails_on(b'w', fd));
wrapped!(pwrite64(fd: c_int, data: *const c_void, n: usize, at: i64) -> isize, fails_on(b'w', fd));
wrapped!(fsync(fd: c_int) -> c_int, fails_on(b's', fd));
wrapped!(fdatasync(fd: c_int) -> c_int, fails_on(b's', fd));
wrapped!(rename(from: *const c_char, to: *const c_char) -> c_int, fails_at(b'r', from));
wrapped!(mkdir(path: *const c_char, mode: c_uint) -> c_int, fails_at(b'm', path));
wrapped!(open64(path: *const c_char, flags: c_int, mode: c_uint) -> c_int, flags & O_CREAT != 0 && fails_at(b'o', path));
wrapped!(unlink(path: *const c_char) -> c_int, fails_at(b'u', path));
wrapped!(rmdir(path: *const c_char) -> c_int, fails_at(b'u', path));
wrapped!(unlinkat(dir: c_int, path: *const c_char, flags: c_int) -> c_int, if dir < 0 { fails_at(b'u', path) } else { fails_on(b'u', dir) });
