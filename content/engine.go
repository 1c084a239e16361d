package content

import (
	"github.com/containerd/containerd/v2/core/containers"
	cstore "github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/namespaces"
)

// An engine's stores are handed over as the parts that a function uses. A
// containerd client is all of them.
type (
	// Images is where images are: their names, and their blobs.
	Images interface {
		ImageService() images.Store
		ContentStore() cstore.Store
	}

	// Finder is where an image is looked for. Its namespaces are only listed
	// for a hint where there is no such image.
	Finder interface {
		Images
		NamespaceService() namespaces.Store
	}

	// Recorder is where names are given to images. Containers keep the image that
	// they were made from when its name is given to another one.
	Recorder interface {
		Images
		LeasesService() leases.Manager
		ContainerService() containers.Store
		SnapshotService(name string) snapshots.Snapshotter
	}

	// Holder is where blobs are kept by a lease.
	Holder interface {
		ContentStore() cstore.Store
		LeasesService() leases.Manager
	}
)
