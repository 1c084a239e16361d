package dockerfile

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	epochtypes "github.com/moby/buildkit/exporter/exptypes"
	gw "github.com/moby/buildkit/frontend/gateway/client"
)

// EpochOf returns the SOURCE_DATE_EPOCH of a frontend's result: that of a build argument
// or of the Dockerfile, which may be the time of a source. nil: there is none. It is one
// for all platforms.
func EpochOf(res *gw.Result) (*time.Time, error) {
	const key = epochtypes.ExporterEpochKey
	var epoch *time.Time
	for name, text := range res.Metadata {
		if name != key && !strings.HasPrefix(name, key+"/") {
			continue
		}
		seconds, err := strconv.ParseInt(string(text), 10, 64)
		if err != nil {
			return nil, fmt.Errorf("read SOURCE_DATE_EPOCH: %w", err)
		}
		t := time.Unix(seconds, 0).UTC()
		if epoch != nil && !epoch.Equal(t) {
			return nil, fmt.Errorf("SOURCE_DATE_EPOCH differs from platform to platform: %w", errors.ErrUnsupported)
		}
		epoch = &t
	}
	return epoch, nil
}

// Epoch is what bounds the times in the layers; nil: nothing does.
func (o *Outcome) Epoch() *time.Time { return o.s.Layers.Epoch }
