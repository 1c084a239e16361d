package dockerfile

import (
	"testing"

	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"
)

// TestPlan: the steps that are counted are those that the frontend numbers.
func TestPlan(t *testing.T) {
	from := func(id string) *pb.Op { return &pb.Op{Op: &pb.Op_Source{Source: &pb.SourceOp{Identifier: id}}} }
	s := &solver{planned: map[string]bool{}}
	want := 0
	for name, c := range map[string]struct {
		op   *pb.Op
		step bool
	}{
		"FROM":           {from("docker-image://docker.io/library/busybox:1"), true},
		"a layout":       {from("oci-layout://base@sha256:0"), true},
		"the context":    {from("local://context"), false},
		"a URL":          {from("https://example.org/file"), false},
		"an old URL":     {from("http://example.org/file"), false},
		"a repository":   {from("git://example.org/app.git"), false},
		"RUN":            {&pb.Op{Op: &pb.Op_Exec{Exec: &pb.ExecOp{}}}, true},
		"COPY, WORKDIR…": {&pb.Op{Op: &pb.Op_File{File: &pb.FileOp{}}}, true},
	} {
		if got := s.plan(&vertex{op: c.op, digest: digest.FromString(name)}); got != c.step {
			t.Errorf("%s is a step: %v", name, got)
		}
		if c.step {
			want++
		}
	}
	if len(s.planned) != want {
		t.Errorf("%d steps, want %d", len(s.planned), want)
	}
}
