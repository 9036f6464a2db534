;; Finds its configuration bad: validate-config returns err(["no table"]).
(module
  (memory (export "memory") 2)
  (data (i32.const 16) "\01\00\00\00\20\00\00\00\01\00\00\00")
  (data (i32.const 32) "\30\00\00\00\08\00\00\00")
  (data (i32.const 48) "no table")
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 65536))
  (func (export "waypost:plugin/lifecycle@0.1.0#validate-config") (param i32 i32) (result i32) (i32.const 16))
  (func (export "waypost:plugin/lifecycle@0.1.0#self-test") (result i32) (i32.const 1024))
  (func (export "waypost:plugin/lifecycle@0.1.0#init") (result i32) (i32.const 1024))
  (func (export "waypost:plugin/on-connect@0.1.0#handle") (result i32) (i32.const 1024)))
