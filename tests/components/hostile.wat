;; A plugin on all ten hooks that means harm, where it is told to: its setting `at` names a listener, or the local part
;; of a sender at the delivery hooks; everybody else gets `proceed`. Its setting `fault` says how, by its first letter:
;;
;;   spin   computes for ever
;;   trap   traps
;;   grow   takes memory without end, and gives up like an allocator when it is refused
;;   lie    answers what does not fit: a 250 as a temporary refusal, a hold of no time, a recipient nobody asked about,
;;          a bounce to nobody
;;   wait   spends its time in host functions, for ever: no import of the contract sleeps, so it reads the message from
;;          the spool again and again where there is one (each read waits for the disk off the workers), and asks for
;;          random octets elsewhere (each call is the host's work on a worker)
(module
  (import "waypost:plugin/context@0.1.0" "current-session" (func $current-session (param i32)))
  (import "waypost:plugin/context@0.1.0" "current-message" (func $current-message (param i32)))
  (import "waypost:plugin/context@0.1.0" "current-delivery" (func $current-delivery (param i32)))
  (import "waypost:plugin/sessions@0.1.0" "[method]smtp-session.listener" (func $listener (param i32 i32)))
  (import "waypost:plugin/sessions@0.1.0" "[resource-drop]smtp-session" (func $drop-session (param i32)))
  (import "waypost:plugin/deliveries@0.1.0" "[method]delivery.sender" (func $sender (param i32 i32)))
  (import "waypost:plugin/deliveries@0.1.0" "[resource-drop]delivery" (func $drop-delivery (param i32)))
  (import "waypost:plugin/messages@0.1.0" "[method]message.read-body" (func $read-body (param i32 i32 i32 i32)))
  (import "waypost:plugin/config@0.1.0" "get" (func $setting (param i32 i32 i32)))
  (import "waypost:plugin/system@0.1.0" "random-bytes" (func $random (param i32 i32)))
  (memory (export "memory") 4)

  ;; Names of settings. What host functions answer is written to 64 (settings), 96 (handles) and 128 (the rest).
  (data (i32.const 0) "at")
  (data (i32.const 8) "fault")
  ;; 1024, all zero: ok(proceed), or ok([]).
  ;; 2048: ok(tempfail({250, none, []}))
  (data (i32.const 2048) "\00\00\00\00\03\00\00\00\fa\00")
  ;; 2304: ok(hold-seconds(0))
  (data (i32.const 2304) "\00\00\00\00\01")
  ;; 2560: ok([{recipient: 4242, proceed}]), its element at 2816
  (data (i32.const 2560) "\00\00\00\00\00\0b\00\00\01")
  (data (i32.const 2816) "\92\10")
  ;; 3328: ok(edit({none, false, some({"", ""}), []}))
  (data (i32.const 3328) "\00\00\00\00\01\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\01")

  ;; What the host hands in is laid one behind the other from here on, and forgotten when the hook returns.
  (global $free (mut i32) (i32.const 4096))

  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $free) (i32.const 7)) (i32.const -8)))
    (global.set $free (i32.add (local.get $at) (local.get 3)))
    (if (i32.gt_u (global.get $free) (i32.const 262144)) (then unreachable))
    (local.get $at))

  ;; True if the text is the setting `at`.
  (func $chosen (param $text i32) (param $len i32) (result i32)
    (local $at i32)
    (call $setting (i32.const 0) (i32.const 2) (i32.const 64))
    (if (i32.or (i32.eqz (i32.load8_u (i32.const 64))) (i32.ne (i32.load (i32.const 72)) (local.get $len)))
      (then (return (i32.const 0))))
    (local.set $at (i32.load (i32.const 68)))
    (loop $on
      (if (i32.eqz (local.get $len)) (then (return (i32.const 1))))
      (local.set $len (i32.sub (local.get $len) (i32.const 1)))
      (br_if $on (i32.eq
        (i32.load8_u (i32.add (local.get $at) (local.get $len)))
        (i32.load8_u (i32.add (local.get $text) (local.get $len))))))
    (i32.const 0))

  ;; One of the seven hooks of a session; `lie` is where the answer lies that does not fit.
  (func $at-session (param $lie i32) (result i32)
    (local $handle i32) (local $answer i32)
    (local.set $answer (i32.const 1024))
    (call $current-session (i32.const 96))
    (if (i32.eqz (i32.load8_u (i32.const 96)))
      (then
        (local.set $handle (i32.load (i32.const 100)))
        (call $listener (local.get $handle) (i32.const 128))
        (call $drop-session (local.get $handle))
        (if (call $chosen (i32.load (i32.const 128)) (i32.load (i32.const 132)))
          (then (local.set $answer (call $misbehave (local.get $lie)))))))
    (global.set $free (i32.const 4096))
    (local.get $answer))

  ;; One of the three hooks of a delivery.
  (func $at-delivery (param $lie i32) (result i32)
    (local $handle i32) (local $answer i32)
    (local.set $answer (i32.const 1024))
    (call $current-delivery (i32.const 96))
    (if (i32.eqz (i32.load8_u (i32.const 96)))
      (then
        (local.set $handle (i32.load (i32.const 100)))
        (call $sender (local.get $handle) (i32.const 128))
        (call $drop-delivery (local.get $handle))
        (if (i32.load8_u (i32.const 128))
          (then
            (if (call $chosen (i32.load (i32.const 132)) (i32.load (i32.const 136)))
              (then (local.set $answer (call $misbehave (local.get $lie)))))))))
    (global.set $free (i32.const 4096))
    (local.get $answer))

  (func $misbehave (param $lie i32) (result i32)
    (local $letter i32)
    (call $setting (i32.const 8) (i32.const 5) (i32.const 64))
    (local.set $letter (i32.load8_u (i32.load (i32.const 68))))
    (if (i32.eq (local.get $letter) (i32.const 115)) (then (loop $on (br $on))))
    (if (i32.eq (local.get $letter) (i32.const 116)) (then unreachable))
    (if (i32.eq (local.get $letter) (i32.const 103)) (then (call $grow)))
    (if (i32.eq (local.get $letter) (i32.const 119)) (then (call $wait)))
    (local.get $lie))

  ;; A mebibyte at a time, each touched, so that the memory is really taken.
  (func $grow
    (local $before i32)
    (loop $on
      (local.set $before (memory.grow (i32.const 16)))
      (if (i32.eq (local.get $before) (i32.const -1)) (then unreachable))
      (i32.store8 (i32.mul (local.get $before) (i32.const 65536)) (i32.const 1))
      (br $on)))

  (func $wait
    (call $current-message (i32.const 96))
    (if (i32.load8_u (i32.const 96))
      (then
        (loop $on
          (global.set $free (i32.const 4096))
          (call $random (i32.const 1024) (i32.const 128))
          (br $on))))
    (loop $on
      (global.set $free (i32.const 4096))
      (call $read-body (i32.load (i32.const 100)) (i32.const 0) (i32.const 65536) (i32.const 128))
      (br $on)))

  (func (export "waypost:plugin/on-connect@0.1.0#handle") (result i32)
    (call $at-session (i32.const 2048)))
  (func (export "waypost:plugin/on-helo@0.1.0#handle") (param i32 i32) (result i32)
    (call $at-session (i32.const 2048)))
  (func (export "waypost:plugin/on-auth@0.1.0#handle")
    (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)
    (call $at-session (i32.const 2048)))
  (func (export "waypost:plugin/on-mail@0.1.0#handle") (param i32 i32 i32 i32 i32) (result i32)
    (call $at-session (i32.const 2048)))
  (func (export "waypost:plugin/on-rcpt@0.1.0#handle")
    (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)
    (call $at-session (i32.const 2048)))
  (func (export "waypost:plugin/on-message@0.1.0#handle") (result i32)
    (call $at-session (i32.const 2048)))
  (func (export "waypost:plugin/on-route@0.1.0#handle") (param i32 i32 i32) (result i32)
    (call $at-session (i32.const 2048)))
  (func (export "waypost:plugin/on-delivery-attempt@0.1.0#handle") (result i32)
    (call $at-delivery (i32.const 2304)))
  (func (export "waypost:plugin/on-delivery-result@0.1.0#handle") (param i32 i32) (result i32)
    (call $at-delivery (i32.const 2560)))
  (func (export "waypost:plugin/on-bounce@0.1.0#handle") (param i32 i32) (result i32)
    (call $at-delivery (i32.const 3328))))
