package filecache

import "github.com/veneer-build/veneer/differ/tree"

// Settle is called on a file whose content is to be read and remembered, after
// its entry was listed, and reports whether it may be. If so, and the stamp
// after the reading is the entry's, a file that still has that stamp has that
// content:
//
//   - A write sets the file's times when it begins, and may go on for as long as
//     what it writes takes to come: a page of the writer's that is swapped out,
//     or of a slow file system. A store through a shared mapping sets them in a
//     fault, when a page is made writable, and those after it do not. But both
//     need the file to be open for writing: here it is not. So they are done, or
//     begin later on.
//   - The times that a later one sets are not those of the entry, which are older
//     by raceMargin than this call. Nor are those of any other change.
//   - Some can change a file and keep its times: who may write to it can move its
//     blocks away (EXT4_IOC_MOVE_EXT), or have something else write into a page
//     of it that is no longer mapped (process_vm_writev(2), O_DIRECT from a file
//     system that answers late). So the file must be one to which nobody but
//     root and this user may write. To become such a one moves its change time.
//
// What this leaves to others is a page that they lent to such a call while the
// file was theirs, before root took it over.
func (m *Cache) Settle(f tree.File, e *tree.Entry) bool {
	if m == nil || m.attributesOnly || !m.covers(e) {
		return false
	}
	local, ok := f.(interface{ Fd() uintptr })
	if !ok || max(e.Stamp.MTime, e.Stamp.CTime) > m.now().Add(-raceMargin).UnixNano() {
		return false
	}
	if !m.writers.only(int(local.Fd())) {
		m.foreign.Add(1)
		return false
	}
	if !notWritten(int(local.Fd())) {
		m.writable.Add(1)
		return false
	}
	return true
}

// Unsettled counts the files that were read and may not be remembered: those to
// which others than root and this user may write, and those that are open for
// writing or that the kernel gives no lease on.
func (m *Cache) Unsettled() (foreign, writable int64) {
	return m.foreign.Load(), m.writable.Load()
}
