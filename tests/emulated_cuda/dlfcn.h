// How the emulated driver is found.
#pragma once

enum { RTLD_NOW = 2 };

void* emulated_library();                       // null: there is no driver
void* emulated_function(const char* name);

inline void* dlopen(const char*, int) { return emulated_library(); }
inline void* dlsym(void*, const char* name) { return emulated_function(name); }
