;; Writes the Authentication-Results field on top; then rejects with 550 where DMARC fails, with 554 where it can't be asked
;; for.
(module
  (import "waypost:plugin/auth-results@0.1.0" "dmarc" (func $dmarc (param i32)))
  (import "waypost:plugin/auth-results@0.1.0" "header-value" (func $value (param i32)))
  (import "waypost:plugin/context@0.1.0" "current-message" (func $current (param i32)))
  (import "waypost:plugin/messages@0.1.0" "[method]message.prepend-header"
    (func $prepend (param i32 i32 i32 i32 i32 i32)))
  (memory (export "memory") 2)
  (data (i32.const 512) "Authentication-Results")
  ;; ok(reject({550, none, []})), ok(reject({554, none, []}))
  (data (i32.const 2048) "\00\00\00\00\02\00\00\00\26\02")
  (data (i32.const 3072) "\00\00\00\00\02\00\00\00\2a\02")
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 65536))
  (func (export "waypost:plugin/on-message@0.1.0#handle") (result i32)
    (call $current (i32.const 16))
    (call $value (i32.const 32))
    (if (i32.load8_u (i32.const 32)) (then (return (i32.const 3072))))
    (call $prepend (i32.load (i32.const 20)) (i32.const 512) (i32.const 22)
      (i32.load (i32.const 36)) (i32.load (i32.const 40)) (i32.const 64))
    (if (i32.load8_u (i32.const 64)) (then (return (i32.const 3072))))
    (call $dmarc (i32.const 96))
    (if (i32.load8_u (i32.const 96)) (then (return (i32.const 3072))))
    ;; status: fail
    (if (i32.eq (i32.load8_u (i32.const 100)) (i32.const 5)) (then (return (i32.const 2048))))
    (i32.const 1024)))
