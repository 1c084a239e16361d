package chunked

// Array is an array that grows without copying what is in it.
type Array[T any] struct {
	chunks [][]T
	n      int
}

const chunkBits = 12

// At returns the value at a position, which must be less than Len.
func (c *Array[T]) At(i int) *T { return &c.chunks[i>>chunkBits][i&(1<<chunkBits-1)] }

// Len is how many values there are.
func (c *Array[T]) Len() int { return c.n }

// Add appends a value and returns its position.
func (c *Array[T]) Add(v T) int {
	last := len(c.chunks) - 1
	if c.n == len(c.chunks)<<chunkBits {
		// The first chunk grows like any slice: most memories are small.
		size := 1 << chunkBits
		if last < 0 {
			size = 64
		}
		c.chunks = append(c.chunks, make([]T, 0, size))
		last++
	}
	c.chunks[last] = append(c.chunks[last], v)
	c.n++
	return c.n - 1
}
