package container

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/errdefs"

	"github.com/veneer-build/veneer/engine"
	"github.com/veneer-build/veneer/internal/fault"
)

// The labels under which nerdctl and the kubelet (by way of CRI) keep the names
// that people know containers by.
const (
	labelNerdctlName  = "nerdctl/name"
	labelK8sContainer = "io.kubernetes.container.name"
	labelK8sPod       = "io.kubernetes.pod.name"
	labelK8sNamespace = "io.kubernetes.pod.namespace"
)

// Find finds the container that a user means: by its ID, else by the name that
// nerdctl or Kubernetes gave it, else by the start of its ID. In Kubernetes a name
// is CONTAINER, POD/CONTAINER or NAMESPACE/POD/CONTAINER. If there is none, the
// error wraps [errdefs.ErrNotFound]. If there are several, it lists them.
func Find(ctx context.Context, e *engine.Engine, ref string) (containers.Container, error) {
	var none containers.Container
	if e.Mode == engine.Embedded {
		return none, &fault.Error{Kind: engine.ErrEmbedded, Ref: ref, Err: fmt.Errorf("find container %q: the embedded engine runs no containers", ref)}
	}
	if ref == "" {
		return none, fmt.Errorf("find container: its name is empty")
	}
	all, err := e.Client.ContainerService().List(ctx)
	if err != nil {
		return none, fmt.Errorf("list containers: %w", err)
	}
	for _, is := range []func(*containers.Container) bool{
		func(c *containers.Container) bool { return c.ID == ref },
		func(c *containers.Container) bool { return slices.Contains(containerNames(c), ref) },
		func(c *containers.Container) bool { return strings.HasPrefix(c.ID, ref) },
	} {
		var found []containers.Container
		for i := range all {
			if is(&all[i]) {
				found = append(found, all[i])
			}
		}
		switch len(found) {
		case 0:
			continue
		case 1:
			return found[0], nil
		}
		return none, fmt.Errorf("find container %q: it could be %s; give the ID", ref, Names(found))
	}
	return none, &fault.Error{Kind: ErrNotFound, Ref: ref, Err: fmt.Errorf("find container %q in namespace %s: there is none: %w", ref, e.Namespace, errdefs.ErrNotFound)}
}

// containerNames returns the names of a container, without its ID.
func containerNames(c *containers.Container) []string {
	var names []string
	if name := c.Labels[labelNerdctlName]; name != "" {
		names = append(names, name)
	}
	if name := c.Labels[labelK8sContainer]; name != "" {
		inPod := c.Labels[labelK8sPod] + "/" + name
		names = append(names, name, inPod, c.Labels[labelK8sNamespace]+"/"+inPod)
	}
	return names
}

// Names lists containers for a message, up to five of them.
func Names(list []containers.Container) string {
	const most = 5
	var parts []string
	for i := range list {
		if i == most {
			parts = append(parts, fmt.Sprintf("%d more", len(list)-most))
			break
		}
		text := list[i].ID
		if names := containerNames(&list[i]); len(names) > 0 {
			text += " (" + names[len(names)-1] + ")"
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, ", ")
}

// List returns what each container is called, the shortest of its names or else its
// ID, in order. The embedded engine has none.
func List(ctx context.Context, e *engine.Engine) ([]string, error) {
	if e.Mode == engine.Embedded {
		return nil, nil
	}
	all, err := e.Client.ContainerService().List(ctx)
	if err != nil {
		return nil, fmt.Errorf("list containers: %w", err)
	}
	var list []string
	for i := range all {
		name := all[i].ID
		if names := containerNames(&all[i]); len(names) > 0 {
			name = names[0]
		}
		list = append(list, name)
	}
	slices.Sort(list)
	return list, nil
}
