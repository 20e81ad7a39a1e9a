"""The compiler for CPUs: graph → plan → LLVM IR → native code. No BLAS underneath: every loop is ours."""

__all__: list[str] = []
