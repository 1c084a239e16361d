package veneer

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/veneer-build/veneer/differ"
	"github.com/veneer-build/veneer/internal/fault"
)

// archiveNotes returns a note for each tar archive that was copied as a file into
// the image's root directory by a target without a type. There the user probably
// wanted the files in the archive. In other directories an archive may be meant.
func archiveNotes(targets []TargetSpec) []Notice {
	var notes []Notice
	for _, t := range targets {
		if t.Op == differ.Delete || t.Type != "" || !tarName(t.Source) || path.Clean(t.Dest) != "/" {
			continue
		}
		if info, err := os.Stat(t.Source); err != nil || !info.Mode().IsRegular() {
			continue
		}
		notes = append(notes, fault.NoticeOf(&Error{
			Kind: ErrArchiveAsFile, Path: t.Source, Ref: t.Op.String(),
			Err: fmt.Errorf("the archive %s is in the image as it is, as /%s", t.Source, filepath.Base(t.Source)),
		}))
	}
	return notes
}

// tarName reports whether a file is named like a tar archive.
func tarName(name string) bool {
	return slices.ContainsFunc([]string{".tar", ".tar.gz", ".tgz", ".tar.zst", ".tzst", ".tar.xz", ".txz", ".tar.bz2"}, func(suffix string) bool {
		return strings.HasSuffix(strings.ToLower(name), suffix)
	})
}
