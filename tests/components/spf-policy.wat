;; Rejects recipients with 550 where SPF fails, with 554 where it can't be asked for.
(module
  (import "waypost:plugin/auth-results@0.1.0" "spf" (func $spf (param i32)))
  (memory (export "memory") 2)
  ;; ok(reject({550, none, []})), ok(reject({554, none, []}))
  (data (i32.const 2048) "\00\00\00\00\02\00\00\00\26\02")
  (data (i32.const 3072) "\00\00\00\00\02\00\00\00\2a\02")
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 65536))
  (func (export "waypost:plugin/on-rcpt@0.1.0#handle")
    (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)
    (call $spf (i32.const 16))
    (if (i32.load8_u (i32.const 16)) (then (return (i32.const 3072))))
    ;; status: fail
    (if (i32.eq (i32.load8_u (i32.const 20)) (i32.const 5)) (then (return (i32.const 2048))))
    (i32.const 1024)))
