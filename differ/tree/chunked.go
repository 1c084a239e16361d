package tree

// chunked is an array that grows without copying what is in it.
type chunked[T any] struct {
	chunks [][]T
	n      int
}

const chunkBits = 12

func (c *chunked[T]) at(i int) *T { return &c.chunks[i>>chunkBits][i&(1<<chunkBits-1)] }

// len is how many values there are.
func (c *chunked[T]) len() int { return c.n }

// add appends a value and returns its position.
func (c *chunked[T]) add(v T) int {
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
