package registry

import (
	"net/http"
	"regexp"
	"strings"
)

// mendChallenge changes a 401 so that it leads to at most one new token.
//
// Containerd's client sends a refused token again, four times, unless the challenge
// contains an error. Here the first refusal of a token leads to a new one, since
// the registry may have forgotten the token, or its clock may differ. A second
// refusal is final.
func (l *lenient) mendChallenge(req *http.Request, resp *http.Response) {
	const field = "Www-Authenticate"
	token := hasPrefixFold(req.Header.Get("Authorization"), "bearer ")
	if token && attemptOf(req.Context()).refusedToken(req) > 1 {
		resp.Header.Del(field)
		return
	}
	challenges := splitChallenges(resp.Header.Values(field))
	if len(challenges) == 0 {
		challenges = l.ask(req, resp)
	}
	if token {
		for i, c := range challenges {
			if hasPrefixFold(c, "bearer ") && !challengeError.MatchString(c) {
				challenges[i] = c + `,error="invalid_token"`
			}
		}
		// Containerd gives up at the second 401 with an error if both are from the
		// same address, even if the first was for a request without a token.
		request, address := *resp.Request, *resp.Request.URL
		address.Fragment = "token"
		request.URL, resp.Request = &address, &request
	}
	resp.Header[field] = challenges
}

func hasPrefixFold(s, prefix string) bool {
	return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
}

// ask returns the challenges of the API's root. Docker's client looks for them
// there, and some registries send none elsewhere.
func (l *lenient) ask(req *http.Request, resp *http.Response) []string {
	root := l.root
	root.Scheme = resp.Request.URL.Scheme
	ping, err := http.NewRequestWithContext(req.Context(), http.MethodGet, root.String(), nil)
	if err != nil {
		return nil
	}
	ping.Header.Set("User-Agent", req.Header.Get("User-Agent"))
	// If the request fails, only the 401 is known.
	answer, err := l.base.RoundTrip(ping)
	if err != nil {
		return nil
	}
	if err := answer.Body.Close(); err != nil || answer.StatusCode != http.StatusUnauthorized {
		return nil
	}
	return splitChallenges(answer.Header.Values("WWW-Authenticate"))
}

var (
	challengeError = regexp.MustCompile(`(?i)[\s,]error\s*=`)
	// newChallenge matches a scheme: it is followed by a space, or stands alone. A
	// parameter is followed by "=".
	newChallenge = regexp.MustCompile("^[-!#$%&'*+.^_`|~0-9A-Za-z]+(\\s+[^\\s=]|$)")
)

// splitChallenges returns the challenges one by one. A header field may have
// several (RFC 9110, section 11.6.1), and containerd reads only the first.
func splitChallenges(fields []string) []string {
	var all []string
	for _, field := range fields {
		first := true
		for _, part := range splitList(field) {
			if first || newChallenge.MatchString(part) {
				all = append(all, part)
			} else {
				all[len(all)-1] += "," + part
			}
			first = false
		}
	}
	return all
}

// splitList splits at the commas outside of quotes.
func splitList(s string) []string {
	var parts []string
	begin, quoted := 0, false
	add := func(end int) {
		if part := strings.TrimSpace(s[begin:end]); part != "" {
			parts = append(parts, part)
		}
		begin = end + 1
	}
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\' && quoted:
			i++
		case c == '"':
			quoted = !quoted
		case c == ',' && !quoted:
			add(i)
		}
	}
	add(len(s))
	return parts
}
