"""The compiler for CPUs: graph → plan → LLVM IR → native code."""
