# Variants of the row loops (csrc/ops/row_loops.h). Neither set names FMA: contraction is off as it is, and no variant may differ.
if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|amd64)$" AND CMAKE_SIZEOF_VOID_P EQUAL 8)
  target_sources(hfd_ops PRIVATE csrc/ops/row_loops_avx2.cpp csrc/ops/row_loops_avx512.cpp)
  set_source_files_properties(csrc/ops/row_loops_avx2.cpp PROPERTIES COMPILE_OPTIONS "-mavx2")
  set_source_files_properties(csrc/ops/row_loops_avx512.cpp PROPERTIES COMPILE_OPTIONS
    "-mavx512f;-mavx512bw;-mavx512dq;-mavx512vl;-mprefer-vector-width=512")
  target_compile_definitions(hfd_ops PRIVATE HFD_HAVE_AVX2 HFD_HAVE_AVX512)
endif()
