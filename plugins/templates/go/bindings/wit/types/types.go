// Package types has the generic types of the contract: options, results, tuples.
package types

// Unit is nothing where something is wanted.
type Unit struct{}

// Tags of options and results, as the generated code tests them.
const (
	OptionNone uint8 = iota
	OptionSome
)

const (
	ResultOk uint8 = iota
	ResultErr
)

// Option is a value or none.
type Option[T any] struct {
	isSome bool
	value  T
}

// None is an option without a value.
func None[T any]() Option[T] { return Option[T]{} }

// Some is an option with a value.
func Some[T any](value T) Option[T] { return Option[T]{isSome: true, value: value} }

// IsSome says whether there is a value.
func (o Option[T]) IsSome() bool { return o.isSome }

// IsNone says whether there is none.
func (o Option[T]) IsNone() bool { return !o.isSome }

// Some is the value; without one, the plugin traps.
func (o Option[T]) Some() T {
	if !o.isSome {
		panic("the option has no value: ask IsSome first")
	}
	return o.value
}

// SomeOr is the value, or another.
func (o Option[T]) SomeOr(other T) T {
	if o.isSome {
		return o.value
	}
	return other
}

// Tag is OptionNone or OptionSome.
func (o Option[T]) Tag() uint8 {
	if o.isSome {
		return OptionSome
	}
	return OptionNone
}

// Result is a success or an error, each with a value.
type Result[T, E any] struct {
	isErr bool
	ok    T
	err   E
}

// Ok is a success.
func Ok[T, E any](value T) Result[T, E] { return Result[T, E]{ok: value} }

// Err is an error.
func Err[T, E any](value E) Result[T, E] { return Result[T, E]{isErr: true, err: value} }

// IsOk says whether it is a success.
func (r Result[T, E]) IsOk() bool { return !r.isErr }

// IsErr says whether it is an error.
func (r Result[T, E]) IsErr() bool { return r.isErr }

// Ok is the value of a success; of an error, the plugin traps.
func (r Result[T, E]) Ok() T {
	if r.isErr {
		panic("the result is an error: ask IsOk first")
	}
	return r.ok
}

// Err is the value of an error; of a success, the plugin traps.
func (r Result[T, E]) Err() E {
	if !r.isErr {
		panic("the result is a success: ask IsErr first")
	}
	return r.err
}

// Tag is ResultOk or ResultErr.
func (r Result[T, E]) Tag() uint8 {
	if r.isErr {
		return ResultErr
	}
	return ResultOk
}

// Tuple1 is a tuple of one.
type Tuple1[A any] struct{ F0 A }

// Tuple2 is a pair.
type Tuple2[A, B any] struct {
	F0 A
	F1 B
}

// Tuple3 is a tuple of three.
type Tuple3[A, B, C any] struct {
	F0 A
	F1 B
	F2 C
}

// Tuple4 is a tuple of four.
type Tuple4[A, B, C, D any] struct {
	F0 A
	F1 B
	F2 C
	F3 D
}
