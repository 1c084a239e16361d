package content

import (
	cstore "github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/leases"
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

	// Recorder is where names are given to images.
	Recorder interface {
		ImageService() images.Store
		LeasesService() leases.Manager
	}

	// Holder is where blobs are kept by a lease.
	Holder interface {
		ContentStore() cstore.Store
		LeasesService() leases.Manager
	}
)
