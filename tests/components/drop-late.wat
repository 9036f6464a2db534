;; Keeps the transaction of each call and drops it in the next one.
(module
  (import "waypost:plugin/context@0.1.0" "current-transaction" (func $current (param i32)))
  (import "waypost:plugin/transactions@0.1.0" "[resource-drop]mail-transaction" (func $drop (param i32)))
  (memory (export "memory") 2)
  (global $kept (mut i32) (i32.const 0))
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 65536))
  (func (export "waypost:plugin/on-rcpt@0.1.0#handle")
    (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)
    (if (global.get $kept) (then (call $drop (global.get $kept))))
    (call $current (i32.const 16))
    (global.set $kept (i32.load (i32.const 20)))
    (i32.const 1024)))
