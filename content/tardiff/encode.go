package tardiff

const (
	// copyRun is from how many equal bytes on they are copied. Fewer are zeros in an
	// add operation, which compress to less than two more operations.
	copyRun = 1 << 10
	// copyEdge is the same at an end of a stretch, where there is one operation more.
	copyEdge = 64
	// otherRun is from how many bytes on that have nothing in common with the old ones
	// they are written as they are, since the differences look random. They end before
	// otherEnd equal ones, and less than one of otherFew is equal.
	otherRun = 24
	otherEnd = 4
	otherFew = 8
)

// reader is what a reader of the operations that were written has open.
type reader struct {
	file int // none: nothing
	pos  int64
}

// encoder makes operations of stretches.
type encoder struct {
	s    *space
	win  window
	buf  []byte
	at   reader
	used []int32 // files that buf opens
	data int     // new bytes in buf, as they are
}

// encode makes the operations that write new bytes, which the stretches divide.
func (e *encoder) encode(at reader, new []byte, stretches []stretch) {
	e.buf, e.used, e.data, e.at = e.buf[:0], e.used[:0], 0, at
	for _, s := range stretches {
		if s.old == none {
			e.plain(new[:s.n])
		} else {
			e.beside(new[:s.n], s.old)
		}
		new = new[s.n:]
	}
}

// plain writes bytes as they are.
func (e *encoder) plain(b []byte) {
	e.buf = append(appendOp(e.buf, opData, int64(len(b))), b...)
	e.data += len(b)
}

// beside writes bytes with the help of the old bytes from a place on, which may be
// those of several files.
func (e *encoder) beside(b []byte, at int64) {
	for len(b) > 0 {
		file := e.s.find(at)
		if file == none { // There are old bytes beside each, unless one could not be read.
			e.plain(b)
			return
		}
		f := &e.s.files[file]
		n := int(min(int64(len(b)), f.base+f.size-at))
		e.ofFile(b[:n], file, at)
		b, at = b[n:], at+int64(n)
	}
}

// ofFile writes bytes with the help of one file's.
func (e *encoder) ofFile(b []byte, file int, at int64) {
	off := at - e.s.files[file].base
	from := 0 // what is before it is written
	for i := 0; i < len(b); {
		run := e.run(b[i:], at+int64(i))
		if run >= copyRun || run > copyEdge && (i == 0 || i+run == len(b)) {
			e.add(b[from:i], file, off+int64(from))
			e.seek(file, off+int64(i))
			e.buf = appendOp(e.buf, opCopy, int64(run))
			e.at.pos += int64(run)
			i += run
			from = i
			continue
		}
		i += run
		n, equal := e.others(b[i:], at+int64(i))
		if n >= otherRun && equal*otherFew < n {
			e.add(b[from:i], file, off+int64(from))
			e.plain(b[i : i+n])
			i += n
			from = i
			continue
		}
		i += n
	}
	e.add(b[from:], file, off+int64(from))
}

// others is the number of bytes before the next otherEnd ones that are those from a
// place on, and how many of them are equal all the same.
func (e *encoder) others(b []byte, at int64) (n, equal int) {
	run := 0
	for i, c := range b {
		if old := e.win.after(at + int64(i)); len(old) == 0 || old[0] != c {
			run = 0
			continue
		}
		equal++
		if run++; run == otherEnd {
			return i + 1 - run, equal - run
		}
	}
	return len(b), equal
}

// run is the number of bytes that are those from a place on.
func (e *encoder) run(b []byte, at int64) (n int) {
	for n < len(b) {
		k := equalRun(e.win.after(at+int64(n)), b[n:])
		if k == 0 {
			break
		}
		n += k
	}
	return n
}

// add writes differences to a file's bytes.
func (e *encoder) add(b []byte, file int, off int64) {
	if len(b) == 0 {
		return
	}
	e.seek(file, off)
	e.buf = appendOp(e.buf, opAdd, int64(len(b)))
	e.at.pos += int64(len(b))
	for at := e.s.files[file].base + off; len(b) > 0; {
		old := e.win.after(at)
		if len(old) == 0 { // It could not be read, which the space has noted.
			return
		}
		k := min(len(b), len(old))
		for i, c := range b[:k] {
			e.buf = append(e.buf, c-old[i])
		}
		b, at = b[k:], at+int64(k)
	}
}

// seek makes the reader's next byte one of a file.
func (e *encoder) seek(file int, off int64) {
	if e.at.file != file {
		name := e.s.path(file)
		e.buf = append(appendOp(e.buf, opOpen, int64(len(name))), name...)
		e.at = reader{file, 0}
		e.used = append(e.used, int32(file)) //nolint:gosec // at most maxFiles
	}
	if e.at.pos != off {
		e.buf = appendOp(e.buf, opSeek, off)
		e.at.pos = off
	}
}
