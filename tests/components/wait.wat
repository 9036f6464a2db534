;; Reads the body, octet after octet, for ever.
(module
  (import "waypost:plugin/context@0.1.0" "current-message" (func $current (param i32)))
  (import "waypost:plugin/messages@0.1.0" "[method]message.read-body" (func $read (param i32 i32 i32 i32)))
  (memory (export "memory") 2)
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 65536))
  (func (export "waypost:plugin/on-message@0.1.0#handle") (result i32)
    (call $current (i32.const 16))
    (loop $on
      (call $read (i32.load (i32.const 20)) (i32.const 0) (i32.const 1) (i32.const 32))
      (br $on))
    unreachable))
