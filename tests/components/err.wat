;; Returns err("no luck\n").
(module
  (memory (export "memory") 1)
  (data (i32.const 16) "\01\00\00\00\20\00\00\00\08\00\00\00")
  (data (i32.const 32) "no luck\0a")
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024))
  (func (export "waypost:plugin/on-rcpt@0.1.0#handle")
    (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)
    (i32.const 16)))
