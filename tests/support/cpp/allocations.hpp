// Counts what this thread allocates. For one source file of a program: it replaces operator new.
#pragma once
#include <cstdlib>
#include <new>

static thread_local size_t allocations = 0;  // of this thread: libzmq's I/O thread is its own
#ifdef COUNT_ALLOCATIONS                     // not beside a sanitizer, which has an operator new of its own
void* operator new(size_t size) {
    allocations++;
    if (void* made = std::malloc(size ? size : 1)) return made;
    throw std::bad_alloc();
}
void operator delete(void* made) noexcept { std::free(made); }
void operator delete(void* made, size_t) noexcept { std::free(made); }
#endif
