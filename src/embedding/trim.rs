//! What loading a model leaves behind in the C library's heap: its weights as they stand in the file, some 60 MB.

/// Gives memory that is free back to the operating system. With another C library than glibc, nothing happens.
pub(super) fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        use std::ffi::c_int;

        // SAFETY: the signature is glibc's; `malloc_trim` may be called at any time and from any thread.
        unsafe extern "C" {
            safe fn malloc_trim(pad: usize) -> c_int;
        }
        // Whether there was anything to give back does not matter.
        malloc_trim(0);
    }
}
