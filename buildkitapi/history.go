package buildkitapi

import (
	controlapi "github.com/moby/buildkit/api/services/control"
)

// ListenBuildHistory implements controlapi.ControlServer. No history of builds is
// kept, so there is nothing to tell, and a client that waits for news gets none.
func (s *Server) ListenBuildHistory(req *controlapi.BuildHistoryRequest, stream controlapi.Control_ListenBuildHistoryServer) error {
	if !req.EarlyExit {
		<-stream.Context().Done()
	}
	return nil
}
