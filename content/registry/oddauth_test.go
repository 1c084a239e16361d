package registry_test

import (
	"fmt"
	"net/http"
	"strings"
)

// authority is how a registry that wants to know who asks does it.
type authority struct {
	// challenges are the fields of a 401; BEARER and BASIC in them are the
	// usual challenges. Nil: BEARER.
	challenges []string
	// root: only the API's root, which asks for a token always, has challenges.
	root bool
	// query is the realm's.
	query string
	// answer is a token server's; TOKEN in it is the token.
	answer string
	// revoke forgets all tokens once, before the so manieth request that has one.
	revoke int
	// never: no token is taken.
	never bool
}

const loginName, loginSecret = "me", "s3cret"

func (a authority) wrap(o *odd, next http.Handler) http.Handler {
	if a.challenges == nil {
		a.challenges = []string{"BEARER"}
	}
	if a.answer == "" {
		a.answer = `{"token":"TOKEN","access_token":"TOKEN","expires_in":300}`
	}
	authorised := 0
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/token" {
			a.give(o, w, r)
			return
		}
		root := r.URL.Path == "/v2/"
		if moved := strings.HasPrefix(r.URL.Path, "/moved/"); moved || (!a.root || !root) && a.admits(o, r, &authorised) {
			next.ServeHTTP(w, r)
			return
		}
		bearer := fmt.Sprintf(`Bearer realm="http://%s/token%s",service="s",scope="repository:team/app:pull"`, r.Host, a.query)
		for _, c := range a.challenges {
			if !a.root || root {
				w.Header().Add("WWW-Authenticate", strings.NewReplacer("BEARER", bearer, "BASIC", `Basic realm="r, or so"`).Replace(c))
			}
		}
		refuseWith(w, http.StatusUnauthorized, "UNAUTHORIZED")
	})
}

// admits reports whether a request has a token that holds, or the password
// where a challenge is for one.
func (a authority) admits(o *odd, r *http.Request, authorised *int) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if user, secret, ok := r.BasicAuth(); ok {
		return user == loginName && secret == loginSecret && strings.Contains(strings.Join(a.challenges, ""), "BASIC")
	}
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok || !o.tokens[token] || a.never {
		return false
	}
	if *authorised++; *authorised == a.revoke {
		clear(o.tokens)
		return false
	}
	return true
}

// give is the token server.
func (a authority) give(o *odd, w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	if a.query != "" && "?"+r.URL.Query().Encode() != a.query && !strings.HasPrefix("?"+r.URL.RawQuery, a.query+"&") {
		w.WriteHeader(http.StatusForbidden)
		return
	}
	if r.Form.Get("service") != "s" || r.Method == http.MethodPost && r.Form.Get("password") != loginSecret {
		w.WriteHeader(http.StatusForbidden)
		return
	}
	o.mu.Lock()
	token := fmt.Sprintf("t%d", len(o.requests))
	o.tokens[token] = true
	o.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	_, _ = fmt.Fprint(w, strings.ReplaceAll(a.answer, "TOKEN", token))
}
