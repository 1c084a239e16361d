// Command manifests does with manifests what a cluster does before a kubelet sees them: it builds an overlay as kustomize does,
// decodes each object into Kubernetes' own types, in which a field that is unknown or given twice is an error, fills in
// defaults, and validates as the API server does. Of each workload it writes the pod, as a manifest that a kubelet takes from a
// file, and says by what the pod is more than the Pod Security Standard "restricted" allows.
//
//	manifests OVERLAY DIRECTORY
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	_ "k8s.io/kubernetes/pkg/apis/apps/install"
	_ "k8s.io/kubernetes/pkg/apis/batch/install"
	_ "k8s.io/kubernetes/pkg/apis/core/install"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: manifests OVERLAY DIRECTORY")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "manifests:", err)
		os.Exit(1)
	}
}

func run(overlay, dir string) error {
	built, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), overlay)
	if err != nil {
		return fmt.Errorf("build %s: %w", overlay, err)
	}
	codecs := serializer.NewCodecFactory(legacyscheme.Scheme, serializer.EnableStrict)
	for _, r := range built.Resources() {
		text, err := r.AsYAML()
		if err != nil {
			return fmt.Errorf("write %s: %w", r.CurId(), err)
		}
		object, kind, err := codecs.UniversalDeserializer().Decode(text, nil, nil)
		if err != nil {
			return fmt.Errorf("decode %s: %w", r.CurId(), err)
		}
		legacyscheme.Scheme.Default(object)
		if err := valid(object); err != nil {
			return fmt.Errorf("validate %s: %w", r.CurId(), err)
		}
		p := podOf(object)
		if p == nil {
			fmt.Printf("%s %s\n", kind.Kind, r.GetName())
			continue
		}
		beyond, err := beyondRestricted(p)
		if err != nil {
			return err
		}
		fmt.Printf("%s %s: %s\n", kind.Kind, r.GetName(), strings.Join(beyond, ", "))
		if err := write(p, filepath.Join(dir, strings.ToLower(kind.Kind)+".yaml")); err != nil {
			return err
		}
	}
	return nil
}

// write writes an object as YAML, whole or not at all: a kubelet may look at any time.
func write(object runtime.Object, path string) error {
	text, err := yaml.Marshal(object)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	hidden := filepath.Join(filepath.Dir(path), "."+filepath.Base(path))
	if err := os.WriteFile(hidden, text, 0o600); err != nil {
		return err
	}
	return os.Rename(hidden, path)
}
