package target

import (
	"fmt"
	"regexp"
	"strconv"

	mode "github.com/tonistiigi/dchapes-mode"
	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/differ/tree"
)

// modeGrammar is what chmod(1) takes. The parser below takes more, such as u=rg,
// which chmod(1) refuses.
const modeGrammar = `^([0-7]{1,4}|[ugoa]*([-+=][rwxXst]*|[-+=][ugo])+(,[ugoa]*([-+=][rwxXst]*|[-+=][ugo])+)*)$`

// CheckChmod returns an error for what is no [Spec].Chmod.
func CheckChmod(s string) error {
	if !regexp.MustCompile(modeGrammar).MatchString(s) {
		return fmt.Errorf("chmod=%s: want a mode as chmod(1) takes it, as in 0755 or u=rwX,go=rX", s)
	}
	return nil
}

// parseChmod reads a mode as chmod(1) takes it, octal or symbolic.
func parseChmod(s string) (func(uint32) uint32, error) {
	if err := CheckChmod(s); err != nil {
		return nil, err
	}
	if octal, err := strconv.ParseUint(s, 8, 32); err == nil {
		return SetMode(uint32(octal)), nil
	}
	set, err := SymbolicMode(s)
	if err != nil {
		return nil, fmt.Errorf("chmod=%s: %w", s, err)
	}
	return set, nil
}

// SetMode returns what gives a st_mode other permissions, and keeps its type.
func SetMode(perm uint32) func(uint32) uint32 {
	return func(m uint32) uint32 { return m&unix.S_IFMT | perm&0o7777 }
}

// SymbolicMode returns what changes a st_mode as a text like u+rw,go= says.
func SymbolicMode(s string) (func(uint32) uint32, error) {
	set, err := mode.ParseWithUmask(s, 0)
	if err != nil {
		return nil, err
	}
	return func(m uint32) uint32 { return SetMode(tree.UnixMode(set.Apply(tree.FileMode(m))))(m) }, nil
}
