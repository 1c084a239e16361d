package arriving

// queuePiece is how much one piece of a queue holds at most.
const queuePiece = 128 << 10

// queue is bytes that wait to be read, in pieces that are used again. A buffer in one piece
// is copied as it grows, and needs three times the space until the garbage is collected.
type queue struct {
	pieces [][]byte
	read   int // of the first piece
	n      int // that wait
	added  int // that came so far
	spare  [][]byte
}

// len is how many bytes wait.
func (q *queue) len() int { return q.n }

// add copies bytes to the end.
func (q *queue) add(p []byte) {
	q.n, q.added = q.n+len(p), q.added+len(p)
	for len(p) > 0 {
		last := len(q.pieces) - 1
		if last < 0 || len(q.pieces[last]) == cap(q.pieces[last]) {
			q.pieces = append(q.pieces, q.empty(len(p)))
			last++
		}
		piece := q.pieces[last]
		k := min(len(p), cap(piece)-len(piece))
		q.pieces[last] = append(piece, p[:k]...)
		p = p[k:]
	}
}

// empty is a piece for so many bytes, or the first of them. Those of a small blob are
// small.
func (q *queue) empty(need int) []byte {
	if n := len(q.spare); n > 0 {
		piece := q.spare[n-1]
		q.spare = q.spare[:n-1]
		return piece
	}
	if q.added > queuePiece {
		need = queuePiece
	}
	return make([]byte, 0, need)
}

// take moves bytes from the beginning to p, and returns how many.
func (q *queue) take(p []byte) (n int) {
	for n < len(p) && q.n > 0 {
		k := copy(p[n:], q.pieces[0][q.read:])
		n, q.n, q.read = n+k, q.n-k, q.read+k
		if q.read == len(q.pieces[0]) {
			if cap(q.pieces[0]) == queuePiece {
				q.spare = append(q.spare, q.pieces[0][:0])
			}
			q.pieces, q.read = q.pieces[1:], 0
		}
	}
	return n
}
