// A CUDA driver that is the CPU: memory is the process's, and kernels are those that `nvrtc.cpp` has compiled as C++. Kernels
// that came with the program, such as candle's, are counted and compute nothing.
//
// New memory is full of NaN, so that what is read before it is written does not go unnoticed. CUDA_MEMORY is the device's
// memory in MiB (default 8192). CUDA_COUNTS names a file for what was called: a name, a count and bytes in a line.
#include <algorithm>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "stream.h"

enum Result { OK = 0, INVALID = 1, OUT_OF_MEMORY = 2, NOT_FOUND = 500, NOT_WHILE_RECORDING = 900 };

// What is used until the very end of the program is never destroyed.
static std::mutex& mutex = *new std::mutex;

// What was called, how often, and for how many bytes.
static auto& counts = *new std::map<std::string, std::pair<long, long>>;

// The device's memory: the end of each allocation by its beginning.
static auto& memory = *new std::map<uintptr_t, uintptr_t>;
static size_t used, peak;

static size_t capacity() {
    const char* text = getenv("CUDA_MEMORY");
    return (text ? strtoull(text, nullptr, 10) : 8192) << 20;
}

static void count(const char* name, size_t bytes) {
    std::lock_guard<std::mutex> lock(mutex);
    auto& [calls, sum] = counts[name];
    calls++;
    sum += bytes;
}

__attribute__((destructor)) static void print_counts() {
    const char* path = getenv("CUDA_COUNTS");
    FILE* file = path ? fopen(path, "w") : nullptr;
    if (!file) return;
    for (const auto& [name, count] : counts) fprintf(file, "%s %ld %ld\n", name.c_str(), count.first, count.second);
    fprintf(file, "peak 1 %zu\n", peak);
    fclose(file);
}

void refuse(const char* format, ...) {
    va_list args;
    va_start(args, format);
    fputs("CUDA on the CPU: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    abort();
}

void check_memory(const char* what, const void* from, size_t bytes) {
    if (bytes == 0) return;
    std::lock_guard<std::mutex> lock(mutex);
    const uintptr_t start = (uintptr_t)from;
    auto after = memory.upper_bound(start);
    if (after == memory.begin() || std::prev(after)->second < start + bytes) {
        refuse("%s: %zu bytes at %p are not the device's", what, bytes, from);
    }
}

// A graph: work in its order. One that is instantiated is the same.
struct Graph {
    std::vector<std::function<void()>> works;
};
static thread_local Graph* recording;

void enqueue(const char* name, size_t bytes, std::function<void()> work) {
    if (recording) {
        recording->works.push_back(std::move(work));
        return;
    }
    count(name, bytes);
    work();
}

// A kernel of a module. Without a function it computes nothing.
struct Kernel {
    std::string name;
    void (*function)(const void*, const unsigned*);
    size_t size; // Of its arguments.
};

extern "C" {

// What does not matter here answers that all is well. `build.sh` adds the rest in the same way.
int cuDriverGetVersion(int* version) { return *version = 13000, OK; }
int cuDeviceGet(int* device, int ordinal) { return *device = 0, ordinal == 0 ? OK : 101; }
int cuDeviceGetCount(int* count) { return *count = 1, OK; }
int cuDeviceGetName(char* name, int size, int) { return snprintf(name, size, "the CPU"), OK; }
int cuDeviceTotalMem_v2(size_t* bytes, int) { return *bytes = capacity(), OK; }
int cuDevicePrimaryCtxRetain(void** context, int) { return *context = (void*)0x10, OK; }
int cuCtxGetCurrent(void** context) { return *context = (void*)0x10, OK; }
int cuCtxGetDevice(int* device) { return *device = 0, OK; }
int cuStreamCreate(void** stream, unsigned) { return *stream = (void*)0x20, OK; }
int cuStreamCreateWithPriority(void** stream, unsigned, int) { return *stream = (void*)0x20, OK; }
int cuEventCreate(void** event, unsigned) { return *event = (void*)0x30, OK; }
int cuFuncGetAttribute(int* value, int, void*) { return *value = 256, OK; }
int cuOccupancyMaxPotentialBlockSize(int* grid, int* block) { return *grid = 1, *block = 256, OK; }
int cuGetErrorName(int, const char** text) { return *text = "CUDA_ERROR", OK; }

int cuGetErrorString(int error, const char** text) {
    *text = error == OUT_OF_MEMORY ? "out of memory" : error == NOT_WHILE_RECORDING ? "not while a stream records" : "an error";
    return OK;
}

// A GPU with compute capability 9.0.
int cuDeviceGetAttribute(int* value, int attribute, int) {
    *value = attribute == 75 ? 9 : attribute == 76 ? 0 : 1;
    return OK;
}

int cuMemGetInfo_v2(size_t* free, size_t* total) {
    std::lock_guard<std::mutex> lock(mutex);
    *free = capacity() - used;
    *total = capacity();
    return OK;
}

int cuMemAlloc_v2(uint64_t* address, size_t bytes) {
    if (recording) return NOT_WHILE_RECORDING;
    if (bytes == 0) return INVALID;
    count("allocate", bytes);
    std::lock_guard<std::mutex> lock(mutex);
    if (bytes > capacity() - used) return OUT_OF_MEMORY;
    // Exactly as long, so that sanitizers see what lies behind it, and aligned as the driver does it.
    void* memory_of_it = nullptr;
    if (posix_memalign(&memory_of_it, 256, bytes) != 0) return OUT_OF_MEMORY;
    memset(memory_of_it, 0xff, bytes);
    *address = (uint64_t)memory_of_it;
    memory[*address] = *address + bytes;
    used += bytes;
    peak = std::max(peak, used);
    return OK;
}

int cuMemFree_v2(uint64_t address) {
    if (recording) return NOT_WHILE_RECORDING;
    std::lock_guard<std::mutex> lock(mutex);
    auto found = memory.find(address);
    if (found == memory.end()) return INVALID;
    used -= found->second - found->first;
    memory.erase(found);
    free((void*)address);
    return OK;
}

int cuMemAllocAsync(uint64_t* address, size_t bytes, void*) { return cuMemAlloc_v2(address, bytes); }
int cuMemFreeAsync(uint64_t address, void*) { return cuMemFree_v2(address); }

int cuMemHostAlloc(void** address, size_t bytes, unsigned) { return *address = malloc(bytes), *address ? OK : OUT_OF_MEMORY; }
int cuMemFreeHost(void* address) { return free(address), OK; }

int cuMemcpyHtoDAsync_v2(uint64_t to, const void* from, size_t bytes, void*) {
    if (recording) return NOT_WHILE_RECORDING;
    check_memory("a copy to the device", (void*)to, bytes);
    enqueue("copy to the device", bytes, [=] { memcpy((void*)to, from, bytes); });
    return OK;
}

int cuMemcpyDtoHAsync_v2(void* to, uint64_t from, size_t bytes, void*) {
    if (recording) return NOT_WHILE_RECORDING;
    check_memory("a copy to the host", (void*)from, bytes);
    enqueue("copy to the host", bytes, [=] { memcpy(to, (void*)from, bytes); });
    return OK;
}

int cuMemcpyDtoDAsync_v2(uint64_t to, uint64_t from, size_t bytes, void*) {
    check_memory("a copy", (void*)to, bytes);
    check_memory("a copy", (void*)from, bytes);
    enqueue("copy on the device", bytes, [=] { memmove((void*)to, (void*)from, bytes); });
    return OK;
}

int cuMemsetD8Async(uint64_t to, unsigned char value, size_t bytes, void*) {
    check_memory("a memset", (void*)to, bytes);
    enqueue("memset", bytes, [=] { memset((void*)to, value, bytes); });
    return OK;
}

int cuStreamSynchronize(void*) { return recording ? NOT_WHILE_RECORDING : (count("synchronize", 0), OK); }
int cuCtxSynchronize() { return recording ? NOT_WHILE_RECORDING : OK; }

// An event that was recorded before a graph is none of the graph's.
int cuStreamWaitEvent(void*, void*, unsigned) { return recording ? NOT_WHILE_RECORDING : OK; }

int cuStreamIsCapturing(void*, int* status) { return *status = recording ? 1 : 0, OK; }

int cuStreamBeginCapture_v2(void*, int) {
    if (recording) return NOT_WHILE_RECORDING;
    recording = new Graph;
    return OK;
}

int cuStreamEndCapture(void*, Graph** graph) {
    *graph = recording;
    recording = nullptr;
    return *graph ? OK : INVALID;
}

int cuGraphInstantiateWithFlags(Graph** instance, const Graph* graph, unsigned long long) {
    *instance = new Graph(*graph);
    return OK;
}

int cuGraphLaunch(const Graph* instance, void*) {
    count("graph", 0);
    for (const auto& work : instance->works) work();
    return OK;
}

int cuGraphDestroy(Graph* graph) { return delete graph, OK; }
int cuGraphExecDestroy(Graph* instance) { return delete instance, OK; }

// The modules of `nvrtc.cpp` are the path of a library; others have no functions here.
int cuModuleLoadData(void** module, const void* image) {
    static const char mark[] = "library ";
    *module = nullptr;
    if (strncmp((const char*)image, mark, sizeof mark - 1) != 0) return OK;
    *module = dlopen((const char*)image + sizeof mark - 1, RTLD_NOW | RTLD_LOCAL);
    if (!*module) refuse("%s", dlerror());
    return OK;
}

int cuModuleGetFunction(Kernel** kernel, void* module, const char* name) {
    *kernel = new Kernel{std::string("kernel ") + name, nullptr, 0};
    if (!module) return OK;
    const auto size = (const unsigned*)dlsym(module, (std::string(name) + "_size").c_str());
    (*kernel)->function = (void (*)(const void*, const unsigned*))dlsym(module, name);
    if (!size || !(*kernel)->function) return NOT_FOUND;
    (*kernel)->size = *size;
    return OK;
}

int cuLaunchKernel(
    const Kernel* kernel, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned, void*,
    void** params, void** extra
) {
    if (gx == 0 || gy == 0 || gz == 0 || gx > 0x7fffffffu || gy > 65535 || gz > 65535) return INVALID;
    if (bx == 0 || by == 0 || bz == 0 || bx * by * bz > 1024 || bz > 64) return INVALID;
    if (!kernel->function) return enqueue(kernel->name.c_str(), 0, [] {}), OK;
    if (!params || extra) return INVALID;
    const std::string args((const char*)params[0], kernel->size);
    const std::vector<unsigned> geometry = {gx, gy, gz, bx, by, bz};
    enqueue(kernel->name.c_str(), 0, [=] {
        // Structs of addresses need more alignment than characters.
        std::vector<uint64_t> aligned((args.size() + 7) / 8);
        memcpy(aligned.data(), args.data(), args.size());
        kernel->function(aligned.data(), geometry.data());
    });
    return OK;
}

} // extern "C"
