class ApplicationController < ActionController::Base
  User = Struct.new(:id, :name)

  private

  def current_user
    User.new(*session[:user]) if session[:user]
  end
end
