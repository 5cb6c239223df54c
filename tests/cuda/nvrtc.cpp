// A run-time compiler of CUDA C for a CUDA that is the CPU: it puts `host.h` in front of the source, and has the system's
// compiler make a library of it. What it calls PTX is the library's path.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>
#include <string>
#include <unistd.h>

#ifndef HOST_H
#error "HOST_H is the path of exec/cuda/tests/host.h"
#endif

struct Program {
    std::string source, log, ptx;
};

// Libraries are used until the program ends. The name is never destroyed, so that it is there then.
static std::string& folder = *new std::string;

__attribute__((destructor)) static void remove_folder() {
    if (!folder.empty() && system(("rm -rf '" + folder + "'").c_str()) != 0) perror("rm");
}

static std::string text_of(const std::string& path) {
    std::ostringstream text;
    text << std::ifstream(path).rdbuf();
    return text.str();
}

static int give(const std::string& text, char* to) { return memcpy(to, text.c_str(), text.size() + 1), 0; }

extern "C" {

int nvrtcCreateProgram(Program** program, const char* source, const char*, int, const char**, const char**) {
    *program = new Program{source, "", ""};
    return 0;
}

int nvrtcCompileProgram(Program* program, int, const char**) {
    static int number;
    if (folder.empty()) {
        char pattern[] = "/tmp/cuda-on-cpu-XXXXXX";
        if (!mkdtemp(pattern)) return 1;
        folder = pattern;
    }
    const std::string path = folder + "/" + std::to_string(number++);
    std::ofstream(path + ".cpp") << text_of(HOST_H) << '\n' << program->source;
    const char* compiler = getenv("CXX");
    std::ostringstream command;
    command << (compiler ? compiler : "c++") << " -std=c++17 -O2 -march=native -ffp-contract=off -w -shared -fPIC "
            << OPTIONS << " -o " << path << ".so " << path << ".cpp > " << path << ".log 2>&1";
    const int code = system(command.str().c_str());
    program->log = text_of(path + ".log");
    program->ptx = "library " + path + ".so";
    return code == 0 ? 0 : 6;
}

int nvrtcGetPTXSize(Program* program, size_t* size) { return *size = program->ptx.size() + 1, 0; }
int nvrtcGetPTX(Program* program, char* ptx) { return give(program->ptx, ptx); }
int nvrtcGetProgramLogSize(Program* program, size_t* size) { return *size = program->log.size() + 1, 0; }
int nvrtcGetProgramLog(Program* program, char* log) { return give(program->log, log); }
int nvrtcDestroyProgram(Program** program) { return delete *program, *program = nullptr, 0; }

} // extern "C"
