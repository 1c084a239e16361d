package filecache

import "github.com/veneer-build/veneer/differ/tree"

// onDisk is an open file of this host.
type onDisk interface {
	// Fd returns the file's descriptor, which stays the file's.
	Fd() uintptr
	// Access returns the file's owner, group and mode when it was opened. If one of
	// them changes later, so does the file's stamp.
	Access() (uid, gid, mode uint32)
}

// Settle reports whether the content of an open file may be remembered. It is called
// after the file's entry was listed, and before its content is read. If it returns
// true, and the file still has the entry's stamp after it was read, then the file
// has that content whenever it has that stamp:
//
//   - A write sets the file's times when it begins, but may store its bytes much
//     later, for instance when the writer's memory is swapped out. A store through
//     a shared mapping sets them when a page becomes writable, and later stores to
//     that page do not. Both need the file to be open for writing. Here it is not,
//     so such changes are complete, or have not begun.
//   - A change that begins later sets other times: the entry's are older than this
//     call by raceMargin.
//   - Some calls change a file and keep its times. A process that may write to the
//     file can move its blocks away (EXT4_IOC_MOVE_EXT), or have the kernel write
//     into a page that it no longer maps (process_vm_writev(2), O_DIRECT from a
//     slow file system). So nobody but root and this user may be allowed to write
//     to the file. Changing that changes the file's change time.
//
// One case remains: a page that its former owner passed to such a call before root
// took the file over.
func (m *Cache) Settle(f tree.File, e *tree.Entry) bool {
	if m == nil || m.attributesOnly || !m.covers(e) {
		return false
	}
	local, ok := f.(onDisk)
	if !ok || max(e.Stamp.MTime, e.Stamp.CTime) > m.now().Add(-raceMargin).UnixNano() {
		return false
	}
	if !m.writers.only(local) {
		m.foreign.Add(1)
		return false
	}
	if !notWritten(int(local.Fd())) {
		m.writable.Add(1)
		return false
	}
	return true
}

// Unsettled returns the number of files that were read and may not be remembered.
// foreign: others than root and this user may write to them. writable: they are
// open for writing, or the kernel gives no lease on them.
func (m *Cache) Unsettled() (foreign, writable int64) {
	return m.foreign.Load(), m.writable.Load()
}
