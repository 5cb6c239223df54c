// The streams of a CUDA that is the CPU: work runs when it is put on one, unless the calling thread is recording a graph.
#pragma once
#include <cstddef>
#include <functional>

// Runs work, or records it. `name` and `bytes` are what is counted.
void enqueue(const char* name, size_t bytes, std::function<void()> work);

// Ends the program: it has done what no GPU allows.
[[noreturn]] void refuse(const char* format, ...);

// Refuses pointers that are not within memory of the device. `from` none is right if there are no bytes.
void check_memory(const char* what, const void* from, size_t bytes);
