// Package runtime is what the generated bindings stand on: memory for the relay's values, handles, and a collector that
// works at the right time.
//
// Go's collector reads clocks, and a component may call nothing while the relay hands it values (cabi_realloc runs then):
// a collection that begins there traps. So none begins by itself; each hook is followed by a look at the heap.
package runtime

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"unsafe"
)

const (
	// Calls between two looks: a look costs about as much as a small call.
	callsPerLook = 64
	// Octets from the relay after which there is a look at once.
	takenPerLook = 1 << 20
	// What the heap may grow by before it is collected: little beside the 64 MiB that a plugin has.
	growth = 8 << 20
)

var (
	calls  uint
	taken  uintptr
	live   uint64
	sample = []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
)

// Tidy0 is a hook without parameters, with a look at the heap behind it.
func Tidy0[R any](hook func() R) func() R {
	return func() R {
		defer tidy()
		return hook()
	}
}

// Tidy1 is the same of a hook with one parameter.
func Tidy1[A, R any](hook func(A) R) func(A) R {
	return func(a A) R {
		defer tidy()
		return hook(a)
	}
}

// Tidy2 is the same of a hook with two parameters.
func Tidy2[A, B, R any](hook func(A, B) R) func(A, B) R {
	return func(a A, b B) R {
		defer tidy()
		return hook(a, b)
	}
}

func tidy() {
	calls++
	if calls%callsPerLook != 0 && taken < takenPerLook {
		return
	}
	taken = 0
	if heap() < live+growth {
		return
	}
	runtime.GC()
	live = heap()
}

func heap() uint64 {
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// Handle is a resource of the relay.
type Handle struct{ value int32 }

// MakeHandle is a handle of that number.
func MakeHandle(value int32) *Handle {
	if value == 0 {
		panic("there is no handle 0")
	}
	return &Handle{value}
}

// Use is its number.
func (h *Handle) Use() int32 {
	if h.value == 0 {
		panic("the handle was given away or dropped")
	}
	return h.value
}

// Take is its number, given away.
func (h *Handle) Take() int32 {
	value := h.Use()
	h.value = 0
	return value
}

// TakeOrNil is its number, given away, or 0.
func (h *Handle) TakeOrNil() int32 {
	value := h.value
	h.value = 0
	return value
}

// Set gives an empty handle a number.
func (h *Handle) Set(value int32) {
	if value == 0 || h.value != 0 {
		panic("the handle has a number, or would get none")
	}
	h.value = value
}

// Allocate is memory that stays where it is until the pinner lets go of it.
func Allocate(pinner *runtime.Pinner, size, align uintptr) unsafe.Pointer {
	if size == 0 {
		return nil
	}
	var pointer unsafe.Pointer
	// Memory of wider elements is aligned for them, and holds no pointers.
	if align > 1 {
		pointer = unsafe.Pointer(unsafe.SliceData(make([]uint64, (size+7)/8)))
	} else {
		pointer = unsafe.Pointer(unsafe.SliceData(make([]byte, size)))
	}
	pinner.Pin(pointer)
	return pointer
}

// What the relay handed in during this call.
var handedIn runtime.Pinner

// Unpin lets go of it: the generated code has taken it over.
func Unpin() { handedIn.Unpin() }

var started bool

func init() {
	debug.SetGCPercent(-1)
	started = true
}

// Before Go runs there is no heap: what stands between it and WASI takes some pages for itself then.
var (
	early [320 << 10]byte
	used  uintptr
)

//go:wasmimport wasi_snapshot_preview1 adapter_monotonic_clock_set_paused
func pauseClock(paused bool)

//go:wasmexport cabi_realloc
func cabiRealloc(old unsafe.Pointer, oldSize, align, size uintptr) unsafe.Pointer {
	if old != nil || oldSize != 0 {
		panic("the relay never moves what it handed in")
	}
	if !started {
		start := uintptr(unsafe.Pointer(&early[0]))
		at := (start+used+align-1)&^(align-1) - start
		if at+size > uintptr(len(early)) {
			panic("no memory before the start")
		}
		used = at + size
		return unsafe.Pointer(&early[at])
	}
	taken += size
	// Growing the heap may read the clock, which is not allowed now: the adapter answers from memory.
	pauseClock(true)
	pointer := Allocate(&handedIn, size, align)
	pauseClock(false)
	return pointer
}
