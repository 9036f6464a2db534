;; Tags the transaction, then traps: the tag must not stay.
(module
  (import "waypost:plugin/context@0.1.0" "current-transaction" (func $current (param i32)))
  (import "waypost:plugin/transactions@0.1.0" "[method]mail-transaction.add-tag" (func $tag (param i32 i32 i32 i32)))
  (memory (export "memory") 2)
  (data (i32.const 512) "tagged")
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 65536))
  (func (export "waypost:plugin/on-rcpt@0.1.0#handle")
    (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)
    (call $current (i32.const 16))
    (call $tag (i32.load (i32.const 20)) (i32.const 512) (i32.const 6) (i32.const 32))
    (if (i32.load8_u (i32.const 32)) (then (return (i32.const 1024))))
    unreachable))
