package content

import (
	"errors"
	"fmt"
	"strings"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
)

// ScratchName is the base that has no files and is never stored.
const ScratchName = "scratch"

// minIDPrefix is how many hexadecimal digits a shortened ID must have at
// least: with fewer, a mistyped short name would find some image.
const minIDPrefix = 4

// Normalize returns the full form of an image name, as Docker, nerdctl and the
// kubelet store it: "app" becomes "docker.io/library/app:latest". A name with
// both a tag and a digest keeps the digest only, since the tag says nothing
// more. A bare digest or ID is no name and is refused.
func Normalize(ref string) (string, error) {
	if err := refuseOddName(ref); err != nil {
		return "", err
	}
	named, err := reference.ParseDockerRef(ref)
	if err != nil {
		return "", nameError(ref, err)
	}
	return named.String(), nil
}

// NormalizeTag is [Normalize] for the name of a result: it refuses a name with
// a digest, because what a build yields is not known before.
func NormalizeTag(ref string) (string, error) {
	if strings.Contains(ref, "@") {
		return "", fmt.Errorf("parse image name %q: a name to give cannot have a digest; write it as NAME[:TAG]", ref)
	}
	if isHex(ref) && len(ref) == 64 || digest.Digest(ref).Validate() == nil {
		return "", fmt.Errorf("parse image name %q: this is a digest; write the name as NAME[:TAG]", ref)
	}
	name, err := Normalize(ref)
	if err != nil {
		return "", err
	}
	if name == "docker.io/library/"+ScratchName+":latest" {
		return "", fmt.Errorf("parse image name %q: the name is reserved for the empty base; choose another", ref)
	}
	return name, nil
}

// CheckTag is the normalised form of one more name for an image that there is:
// [NormalizeTag], or NAME@DIGEST.
func CheckTag(ref string) (string, error) {
	if strings.Contains(ref, "@") {
		return Normalize(ref)
	}
	return NormalizeTag(ref)
}

// isDigested reports whether a normalised name ends in a digest.
func isDigested(name string) bool { return strings.Contains(name, "@") }

// Ref is what a user typed to mean a stored image.
type Ref struct {
	// Input is the text as typed.
	Input string
	// Name is the normalised name; empty where the input can only be an ID.
	Name string
	// Digest is set where the input is or ends in a whole digest.
	Digest digest.Digest
	// IDPrefix are the hexadecimal digits of a shortened ID. The input may
	// be a name as well, which then wins: "cafe" is both.
	IDPrefix string
}

// ParseRef takes an image name, NAME@DIGEST, a bare digest with or without
// its algorithm, or the beginning of one as nerdctl prints it.
func ParseRef(ref string) (Ref, error) {
	r := Ref{Input: ref}
	if err := refuseOddName(ref); err != nil {
		return Ref{}, err
	}
	if d := digest.Digest(ref); d.Validate() == nil {
		r.Digest = d
		return r, nil
	}
	if isHex(ref) && len(ref) == 64 {
		r.Digest = digest.NewDigestFromEncoded(digest.SHA256, ref)
		return r, nil
	}
	hexPart, prefixed := strings.CutPrefix(ref, "sha256:")
	if isHex(hexPart) && len(hexPart) < 64 && len(hexPart) >= minIDPrefix {
		r.IDPrefix = hexPart
		if prefixed {
			return r, nil
		}
	}
	named, err := reference.ParseDockerRef(ref)
	if err != nil {
		return Ref{}, nameError(ref, err)
	}
	r.Name = named.String()
	if d, ok := named.(reference.Digested); ok {
		r.Digest = d.Digest()
	}
	return r, nil
}

// Repository returns the name without tag and digest, "" where there is no name.
func (r Ref) Repository() string {
	return repositoryOf(r.Name)
}

func repositoryOf(name string) string {
	named, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return ""
	}
	return named.Name()
}

func refuseOddName(ref string) error {
	switch {
	case ref == "":
		return errors.New("parse image name: the name is empty; write it as NAME[:TAG]")
	case strings.ContainsAny(ref, " \t\r\n"):
		return fmt.Errorf("parse image name %q: white space in the name", ref)
	case strings.Contains(ref, "://"):
		_, rest, _ := strings.Cut(ref, "://")
		return fmt.Errorf("parse image name %q: a name has no scheme; write %q", ref, rest)
	}
	return nil
}

// nameError says what is wrong in words that name a way out, since the
// library's "invalid reference format" does not.
func nameError(ref string, err error) error {
	switch {
	case errors.Is(err, reference.ErrNameTooLong):
		return fmt.Errorf("parse image name %q…: longer than %d characters", ref[:40], reference.RepositoryNameTotalLengthMax)
	case strings.Contains(err.Error(), "must be lowercase"), errors.Is(err, reference.ErrNameContainsUppercase):
		return fmt.Errorf("parse image name %q: the repository must be lower case; write %q", ref, lowerRepository(ref))
	case errors.Is(err, reference.ErrReferenceInvalidFormat):
		return fmt.Errorf("parse image name %q: not of the form [HOST[:PORT]/]NAME[:TAG][@DIGEST]: %w", ref, err)
	}
	return fmt.Errorf("parse image name %q: %w", ref, err)
}

// lowerRepository lower-cases all but the tag, which may have capitals.
func lowerRepository(ref string) string {
	tag := strings.LastIndex(ref, ":")
	if tag < strings.LastIndex(ref, "/") || tag < 0 {
		return strings.ToLower(ref)
	}
	return strings.ToLower(ref[:tag]) + ref[tag:]
}

func isHex(s string) bool {
	return s != "" && strings.Trim(s, "0123456789abcdef") == ""
}
